"""Makes kernels: a warm pool for each template, and forks on demand. The supervisor's engine, without its socket."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections import deque
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import NoCapacityError, NotFoundError, PodflareError
from .jail import skeleton
from .jail.build import JailError
from .jails import Jail, JailWorkshop
from .kernelspec import TemplateSpec
from .limits import Limits
from .pool import PoolCounts, refill
from .supervised_kernel import SupervisedKernel
from .templates import Template, TemplateLostError

log = logging.getLogger(__name__)
FORKS_AT_ONCE = max(2, 2 * (os.cpu_count() or 1))
REFILL_AFTER_SECONDS = 0.05
"""A moment's quiet before the pool is refilled: the first execution of whoever took a kernel comes first."""
RETRY_AFTER_SECONDS = 2.0


@dataclass(slots=True)
class Pool:
    """One template and its warm kernels."""

    template: Template
    target: int
    warm: deque[SupervisedKernel] = field(default_factory=deque)
    spare_jails: deque[Jail] = field(default_factory=deque)
    starting: int = 0
    waiting: int = 0
    reviving: asyncio.Lock = field(default_factory=asyncio.Lock)

    def counts(self) -> PoolCounts:
        """For ``pool.refill``."""
        return PoolCounts(self.target, len(self.warm), self.starting, self.waiting, len(self.spare_jails))

    def fits(self, limits: Limits) -> bool:
        """Whether what is made ahead can be given these limits: memory, cpu and pids change, a disk's size does not."""
        usual = self.template.spec.limits
        return (limits.disk_mib, limits.inodes) == (usual.disk_mib, usual.inodes)


class KernelFactory:
    """Templates, pools and forks. ``workshop`` is None with ``--isolation none``: kernels then have no jail."""

    def __init__(self, specs: Mapping[str, TemplateSpec], runtime: Path, workshop: JailWorkshop | None) -> None:
        self._runtime = runtime
        self._workshop = workshop
        self._pools = {name: Pool(Template(spec), spec.pool_size) for name, spec in specs.items()}
        self._serials = itertools.count(1)
        self._skeletons: dict[tuple[str, ...], asyncio.Future[Path]] = {}
        self._gate = asyncio.Semaphore(FORKS_AT_ONCE)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def start(self) -> None:
        """Begin to load all templates; returns at once, ``acquire`` waits for the one that it needs."""
        for pool in self._pools.values():
            self._do(self._load(pool))

    def _do(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _load(self, pool: Pool) -> None:
        await pool.template.start()
        if (failure := pool.template.ready.exception()) is not None:
            log.error("%s", failure)
            return
        if self._workshop is not None:
            await self._skeleton(pool.template.sources)
        self._refill(pool)

    def describe(self) -> list[dict[str, Any]]:
        """Each template with its state and its pool."""
        return [self._describe(pool) for pool in self._pools.values()]

    @staticmethod
    def _describe(pool: Pool) -> dict[str, Any]:
        ready = pool.template.ready
        failure = ready.exception() if ready.done() else None
        details = ready.result() if ready.done() and failure is None else {}
        state = "loading" if not ready.done() else "failed" if failure else "ready"
        return {
            "name": pool.template.spec.name, "state": state, "error": str(failure) if failure else None,
            "warm": len(pool.warm), "target": pool.target, "language_info": details.get("language_info"),
        }  # fmt: skip

    async def acquire(self, name: str, limits: Limits | None, env: Mapping[str, str]) -> SupervisedKernel:
        """A warm kernel if one fits, else a fork. Raises NotFoundError, NoCapacityError."""
        pool = self._pools.get(name)
        if pool is None:
            raise NotFoundError(f"There is no template {name!r}; there are: {', '.join(sorted(self._pools))}.")
        await self._revive(pool)
        limits = limits or pool.template.spec.limits
        if not env and pool.fits(limits):
            while pool.warm:
                kernel = pool.warm.popleft()
                if not kernel.exited.done():
                    if kernel.jail and kernel.limits != limits:
                        kernel.jail.update(limits)
                    self._refill_soon(pool)
                    return kernel
                self._do(kernel.kill())  # it died unnoticed: its jail goes, too
        pool.waiting += 1
        try:
            return await self._fork(pool, limits, env)
        finally:
            pool.waiting -= 1
            self._refill_soon(pool)

    async def replace(self, dead: SupervisedKernel) -> SupervisedKernel:
        """A new kernel on the files and limits of one that ended, or is to end now."""
        await dead.end_process()
        pool = self._pools[dead.template.spec.name]
        async with self._gate:
            try:
                return await self._succeed(dead, pool)
            except TemplateLostError:  # it had just ended: the next attempt starts it again
                return await self._succeed(dead, pool)

    async def _succeed(self, dead: SupervisedKernel, pool: Pool) -> SupervisedKernel:
        await self._revive(pool)
        kernel = dead.successor(pool.template)
        await kernel.start()
        return kernel

    async def _fork(self, pool: Pool, limits: Limits, env: Mapping[str, str]) -> SupervisedKernel:
        async with self._gate:
            try:
                return await self._fork_once(pool, limits, env)
            except TemplateLostError:  # it had just ended: the next attempt starts it again
                return await self._fork_once(pool, limits, env)

    async def _fork_once(self, pool: Pool, limits: Limits, env: Mapping[str, str]) -> SupervisedKernel:
        if self._closed:
            raise NoCapacityError("The supervisor is shutting down.")
        await self._revive(pool)
        serial = next(self._serials)
        jail, home = None, None
        if self._workshop is not None:
            jail = await self._jail(pool, limits)
        else:
            home = self._runtime / f"home{serial}"
            home.mkdir(mode=0o700)
        kernel = SupervisedKernel(pool.template, jail, self._runtime / f"k{serial}", home)
        try:
            await kernel.start(env)
        except TemplateLostError:
            await kernel.kill()
            raise
        return kernel

    async def _jail(self, pool: Pool, limits: Limits) -> Jail:
        """A spare jail if one fits, else a new one."""
        if pool.spare_jails and pool.fits(limits):
            jail = pool.spare_jails.popleft()
            if jail.limits != limits:
                jail.update(limits)
            return jail
        return await self._build_jail(pool, limits)

    async def _build_jail(self, pool: Pool, limits: Limits) -> Jail:
        assert self._workshop is not None  # noqa: S101 - asked before
        sources = pool.template.sources
        try:
            jail = Jail(self._workshop, str(next(self._serials)), limits, await self._skeleton(sources), sources)
            await jail.open()
        except (OSError, JailError, IndexError, TimeoutError) as error:
            raise NoCapacityError(f"A jail could not be built: {error}") from error
        return jail

    async def _revive(self, pool: Pool) -> None:
        """A template whose process died is started anew, once for all who wait; kernels made from it live on."""
        lost = pool.template
        async with pool.reviving:
            if pool.template is lost and lost.lost:
                log.error("The template %s ended; it is started again.", lost.spec.name)
                await lost.close()
                pool.template = Template(lost.spec)
                await pool.template.start()
        await pool.template.ready

    async def _skeleton(self, sources: tuple[str, ...]) -> Path:
        """The skeleton for templates of these sources, made once: it takes half a second, in a thread."""
        if sources not in self._skeletons:
            assert self._workshop is not None  # noqa: S101 - only jails need one
            path = self._workshop.skeletons / f"skeleton{len(self._skeletons)}"
            self._skeletons[sources] = asyncio.ensure_future(asyncio.to_thread(skeleton.build, path, sources))
        return await asyncio.shield(self._skeletons[sources])

    def _refill_soon(self, pool: Pool) -> None:
        if not self._closed:
            asyncio.get_running_loop().call_later(REFILL_AFTER_SECONDS, self._refill, pool)

    def _refill(self, pool: Pool) -> None:
        if self._closed:
            return
        wanted = refill(pool.counts())
        if wanted.kernels:
            self._do(self._prepare(pool, self._add_kernel(pool)))
        elif wanted.jails and self._workshop is not None:
            self._do(self._prepare(pool, self._add_jail(pool)))

    async def _prepare(self, pool: Pool, work: Coroutine[Any, Any, None]) -> None:
        """Make one thing ahead, then look for what else is wanted."""
        pause = 0.0
        pool.starting += 1
        try:
            await work
        except PodflareError as error:
            if not self._closed:
                log.error("Nothing can be made ahead for %s: %s", pool.template.spec.name, error)  # noqa: TRY400 - a sentence, not our fault's trace
            pause = RETRY_AFTER_SECONDS
        finally:
            pool.starting -= 1
        if not self._closed:
            asyncio.get_running_loop().call_later(pause, self._refill, pool)

    async def _add_kernel(self, pool: Pool) -> None:
        pool.warm.append(await self._fork(pool, pool.template.spec.limits, {}))

    async def _add_jail(self, pool: Pool) -> None:
        pool.spare_jails.append(await self._build_jail(pool, pool.template.spec.limits))

    async def close(self) -> None:
        """End templates and warm kernels; kernels that were given out are their holders' to kill before."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        pools = list(self._pools.values())
        await asyncio.gather(*(kernel.kill() for pool in pools for kernel in pool.warm))
        await asyncio.gather(*(jail.close() for pool in pools for jail in pool.spare_jails))
        await asyncio.gather(*(pool.template.close() for pool in self._pools.values()))
