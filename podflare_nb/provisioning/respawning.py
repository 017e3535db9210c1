"""A supervisor of our own, and the next one when it was killed: a ``KernelSource`` over the one that runs now.

What a killed one held is lost, and said to be; the next one sweeps what it left. What is asked for while that starts
waits for it, not for ever. Above: ``app``; below: ``client``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self

from ..errors import PodflareError
from ..protocol.egress import Egress
from .client import Supervisor
from .handle import KernelHandle
from .limits import Limits
from .supervisor_link import ENDED, LOST, LostError

log = logging.getLogger(__name__)
WAIT_SECONDS = 30.0
"""How long a request waits for a supervisor that starts."""
PAUSES_SECONDS = (0.0, 1.0, 5.0, 30.0)
"""Before each of several starts in a row, and all further ones: what ends again and again must not fill the machine."""
STEADY_SECONDS = 60.0
"""Who has lived so long did not end because of how it was started."""


class RespawningSupervisor:
    """Make it with ``begin``; ``aclose`` ends the supervisor."""

    def __init__(self, first: Supervisor, start: Callable[[], Awaitable[Supervisor]]) -> None:
        self._start = start
        self._running = asyncio.Event()
        self._ending: set[asyncio.Task[None]] = set()
        self._current = self._take(first)
        self._respawning = asyncio.create_task(self._respawn(), name="podflare_nb respawn")

    def __repr__(self) -> str:
        return f"<RespawningSupervisor {self._current!r}>"

    @classmethod
    async def begin(cls, start: Callable[[], Awaitable[Supervisor]]) -> Self:
        """Start the first. Raises what that raises."""
        return cls(await start(), start)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def no_internet(self) -> str:
        """See ``Supervisor``."""
        return self._current.no_internet

    async def acquire(
        self, template: str, *, limits: Limits | None = None, env: Mapping[str, str] | None = None,
        egress: Egress | None = None,
    ) -> KernelHandle:  # fmt: skip
        """See ``handle.KernelSource``."""
        return await (await self._there()).acquire(template, limits=limits, env=env, egress=egress)

    async def replace(self, dead: KernelHandle) -> KernelHandle:
        """See ``handle.KernelSource``. Nothing replaces what a killed supervisor held: its files are gone."""
        if self._current.lost.done():
            raise LostError(ENDED)
        return await self._current.replace(dead)

    async def succeed(self, predecessor: KernelHandle, successor: KernelHandle) -> KernelHandle:
        """See ``handle.KernelSource``."""
        return await self._current.succeed(predecessor, successor)

    async def describe(self) -> dict[str, Any]:
        """See ``Supervisor``."""
        return await (await self._there()).describe()

    async def aclose(self) -> None:
        """End the one that runs, and start no other. Idempotent."""
        self._respawning.cancel()
        await asyncio.gather(self._respawning, return_exceptions=True)
        await self._current.aclose()
        await asyncio.gather(*self._ending)

    def _take(self, supervisor: Supervisor) -> Supervisor:
        supervisor.lost.add_done_callback(lambda _: self._running.clear())
        self._running.set()
        return supervisor

    def _end(self, lost: Supervisor) -> None:
        """Close it, which may wait for what it had the host do; the next one need not wait for that."""
        ending = asyncio.create_task(lost.aclose())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def _there(self) -> Supervisor:
        """The one that runs, also if it has to start first. Raises LostError."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._running.wait()
        except TimeoutError:
            raise LostError(LOST) from None
        return self._current

    async def _respawn(self) -> None:
        now = asyncio.get_running_loop().time
        in_a_row = 0
        while True:
            began = now()
            await asyncio.shield(self._current.lost)
            log.error("The supervisor has ended, and every kernel with it. Another one is started.")
            self._end(self._current)
            in_a_row = 0 if now() - began > STEADY_SECONDS else in_a_row
            while not self._running.is_set():
                await asyncio.sleep(PAUSES_SECONDS[min(in_a_row, len(PAUSES_SECONDS) - 1)])
                in_a_row += 1
                try:
                    self._current = self._take(await self._start())
                except (PodflareError, OSError) as error:
                    log.error("No supervisor could be started: %s", error)  # noqa: TRY400 - a sentence is enough
