"""Kernels that the service holds in advance, so that a create waits for nobody: not even for the supervisor.

Stands between ``sandboxes`` and the supervisor's ``client`` and offers what both do (``handle.KernelSource``). A
template gets a reserve when it is first asked for. What a request wants otherwise than the template has it (limits,
environment) goes through to the supervisor, as does a request that finds the reserve empty.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from typing import Self

from ..errors import PodflareError
from ..protocol.egress import Egress
from .handle import KernelHandle, KernelSource
from .kernelspec import TemplateSpec
from .limits import Limits

log = logging.getLogger(__name__)
SIZE = 2
"""Kernels held for each template in use; behind them stands the supervisor's own pool."""
REFILL_AFTER_SECONDS = 0.02


class Reserve:
    """A ``KernelSource`` over another. ``aclose`` gives up what it holds; the kernels end with the source."""

    def __init__(self, source: KernelSource, templates: Mapping[str, TemplateSpec]) -> None:
        self._source = source
        self._templates = templates
        self._held: dict[str, deque[KernelHandle]] = {}
        self._refilling: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    def __repr__(self) -> str:
        return f"<Reserve { ({name: len(held) for name, held in self._held.items()}) }>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def acquire(
        self,
        template: str,
        *,
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
        egress: Egress | None = None,
    ) -> KernelHandle:
        """See ``handle.KernelSource``."""
        spec = self._templates.get(template)
        if spec is None or spec.pool_size == 0:
            return await self._source.acquire(template, limits=limits, env=env, egress=egress)
        held = self._held.setdefault(template, deque())
        self._refill_soon(template)
        if not env and limits in {None, spec.limits}:
            while held:
                kernel = held.popleft()
                if not kernel.exited.done():
                    return await _reaching(kernel, egress)
                self._give_up(kernel)
        return await self._source.acquire(template, limits=limits, env=env, egress=egress)

    async def replace(self, dead: KernelHandle) -> KernelHandle:
        """See ``handle.KernelSource``."""
        return await self._source.replace(dead)

    async def succeed(self, predecessor: KernelHandle, successor: KernelHandle) -> KernelHandle:
        """See ``handle.KernelSource``."""
        return await self._source.succeed(predecessor, successor)

    def _give_up(self, dead: KernelHandle) -> None:
        """A kernel that died while it was held: its sandbox is given back."""
        task = asyncio.get_running_loop().create_task(dead.kill())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _refill_soon(self, template: str) -> None:
        if template not in self._refilling and not self._closed:
            self._refilling[template] = asyncio.get_running_loop().create_task(self._refill(template))

    async def _refill(self, template: str) -> None:
        """Take kernels until there are enough, a moment after whoever took one was answered."""
        held = self._held[template]
        try:
            while len(held) < SIZE:
                await asyncio.sleep(REFILL_AFTER_SECONDS)
                held.append(await self._source.acquire(template))
        except PodflareError as error:
            log.warning("No kernel of %s can be held in advance: %s", template, error)
        finally:
            del self._refilling[template]

    async def aclose(self) -> None:
        """Stop holding kernels. Idempotent."""
        self._closed = True
        tasks = list(self._refilling.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        kernels = [kernel for held in self._held.values() for kernel in held]
        self._held.clear()
        await asyncio.gather(*self._ending, *(kernel.kill() for kernel in kernels), return_exceptions=True)


async def _reaching(kernel: KernelHandle, egress: Egress | None) -> KernelHandle:
    """A kernel that was held, with this policy. Raises NoCapacityError; then it is ended."""
    if egress is not None and egress != kernel.network.egress:
        try:
            await kernel.set_egress(egress)
        except BaseException:
            await kernel.kill()
            raise
    return kernel
