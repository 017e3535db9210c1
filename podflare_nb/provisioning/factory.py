"""Makes kernels of templates, in advance and on demand. The supervisor's engine, without its socket."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import NoCapacityError, NotFoundError
from .branches import Branch
from .jail_maker import JailMaker
from .jails import JailWorkshop
from .kernel_sockets import KernelSockets
from .kernelspec import TemplateSpec
from .limits import Limits
from .refilling import Refilling
from .supervised_kernel import SupervisedKernel
from .system_packages import SystemPackages
from .template_environments import TemplateEnvironments
from .template_pool import TemplatePool
from .templates import Template, TemplateLostError

log = logging.getLogger(__name__)
FORKS_AT_ONCE = 4 * (os.cpu_count() or 1)
"""A fork waits for Linux now and then; this many share what there is of processors."""


class KernelFactory:
    """Templates, pools and forks. ``workshop`` is None with ``--isolation none``: kernels then have no jail;
    ``caches``: see ``library_caches``."""

    def __init__(
        self, specs: Mapping[str, TemplateSpec], runtime: Path, workshop: JailWorkshop | None,
        environments: TemplateEnvironments, caches: Path,
    ) -> None:  # fmt: skip
        self._runtime = runtime
        self._environments = environments
        self._jails = None if workshop is None else JailMaker(workshop)
        system = SystemPackages(environments, self._jails)
        self._pools = {name: TemplatePool(spec, environments, system, caches) for name, spec in specs.items()}
        self._serials = itertools.count(1)
        self._gate = asyncio.Semaphore(FORKS_AT_ONCE)
        self._refilling = Refilling(self._add_kernel, None if workshop is None else self._add_jail)
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def start(self) -> None:
        """Begin to load all templates; returns at once, ``acquire`` waits for the one that it needs."""
        for pool in self._pools.values():
            self._do(self._load(pool))
        if self._pools:
            self._do(self._sweep())

    async def _sweep(self) -> None:
        await asyncio.wait([pool.template.ready for pool in self._pools.values()])
        await asyncio.to_thread(self._environments.sweep)

    def _do(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _load(self, pool: TemplatePool) -> None:
        await pool.template.start()
        if (failure := pool.template.ready.exception()) is not None:
            log.error("%s", failure)
            return
        if self._jails is not None:
            await self._jails.skeleton(pool.template.sources)
        self._refilling.now(pool)

    def describe(self) -> list[dict[str, Any]]:
        """Each template with its state and its pool."""
        return [pool.describe() for pool in self._pools.values()]

    async def acquire(self, name: str, limits: Limits | None, env: Mapping[str, str]) -> SupervisedKernel:
        """A warm kernel if one fits, else a fork. Raises NotFoundError, NoCapacityError."""
        pool = self._pools.get(name)
        if pool is None:
            raise NotFoundError(f"There is no template {name!r}; there are: {', '.join(sorted(self._pools))}.")
        await pool.revive()
        limits = limits or pool.template.spec.limits
        if not env and pool.fits(limits):
            while pool.warm:
                kernel = pool.warm.popleft()
                if not kernel.exited.done():
                    if kernel.branch and kernel.limits != limits:
                        kernel.branch.update(limits)
                    self._refilling.soon(pool)
                    return kernel
                self._do(kernel.kill())  # it died unnoticed: its jail goes, too
        pool.waiting += 1
        try:
            return await self._start(pool, limits, env)
        finally:
            pool.waiting -= 1
            self._refilling.soon(pool)

    async def replace(self, dead: SupervisedKernel) -> SupervisedKernel:
        """A new kernel on the files and limits of one that ended, or is to end now."""
        await dead.end_process()
        pool = self._pools[dead.template.spec.name]
        async with self._gate:
            try:
                return await self._succeed(dead, pool)
            except TemplateLostError:  # it had just ended: the next attempt starts it again
                return await self._succeed(dead, pool)

    @staticmethod
    async def _succeed(dead: SupervisedKernel, pool: TemplatePool) -> SupervisedKernel:
        await pool.revive()
        if dead.branch is not None and not dead.branch.jail.lives:
            raise NoCapacityError("The first process of its jail was killed, and the jail has ended with it.")
        kernel = dead.successor(pool.template)
        await kernel.start()
        return kernel

    def new_sockets(self) -> KernelSockets:
        """For a kernel that is to be."""
        return KernelSockets(self._runtime / f"k{next(self._serials)}")

    async def _start(self, pool: TemplatePool, limits: Limits, env: Mapping[str, str]) -> SupervisedKernel:
        async with self._gate:
            try:
                return await self._start_once(pool, limits, env)
            except TemplateLostError:  # it had just ended: the next attempt starts it again
                return await self._start_once(pool, limits, env)

    async def _start_once(self, pool: TemplatePool, limits: Limits, env: Mapping[str, str]) -> SupervisedKernel:
        if self._closed:
            raise NoCapacityError("The supervisor is shutting down.")
        await pool.revive()
        if self._jails is None:
            home = self._runtime / f"home{next(self._serials)}"
            home.mkdir(mode=0o700)
            return await _started(SupervisedKernel(pool.template, None, self.new_sockets(), home), env)
        if pool.spare and pool.fits(limits):
            branch = pool.spare.popleft()
            if branch.limits != limits:
                branch.update(limits)
            try:
                return await _started(SupervisedKernel(pool.template, branch, self.new_sockets()), env)
            except NoCapacityError as error:  # its pid 1 may have been killed while it waited
                log.warning("A jail that was made ahead could not be used: %s", error)
                await pool.revive()
        branch = await self._build(self._jails, pool.template, limits)
        return await _started(SupervisedKernel(pool.template, branch, self.new_sockets()), env)

    async def template_of(self, kernel: SupervisedKernel) -> Template:
        """The live template that a kernel was forked from, or the one in its place. Raises NoCapacityError."""
        pool = self._pools[kernel.template.spec.name]
        await pool.revive()
        return pool.template

    async def _add_kernel(self, pool: TemplatePool) -> None:
        pool.warm.append(await self._start(pool, pool.template.spec.limits, {}))

    async def _add_jail(self, pool: TemplatePool) -> None:
        assert self._jails is not None  # noqa: S101 - not called without
        await pool.revive()  # one that is being started again does not know yet what its jails must show
        pool.spare.append(await self._build(self._jails, pool.template, pool.template.spec.limits))

    @staticmethod
    async def _build(jails: JailMaker, template: Template, limits: Limits) -> Branch:
        return await jails.build(template.sources, limits, template.spec.network, template.installed)

    async def close(self) -> None:
        """End templates and warm kernels; kernels that were given out are their holders' to kill before."""
        self._closed = True
        await self._refilling.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))


async def _started(kernel: SupervisedKernel, env: Mapping[str, str]) -> SupervisedKernel:
    try:
        await kernel.start(env)
    except TemplateLostError:
        await kernel.kill()
        raise
    return kernel
