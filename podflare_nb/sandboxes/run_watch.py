"""Ends a run that does not end by itself: at its deadline, on a cancel, or when the kernel falls silent.

First an interrupt, once the kernel has begun the run, since one that comes before is lost; after the grace the kernel
is killed, and its death ends the run. Holds the timers of one run and nothing else; what the end means is ``run``'s to
say.
"""

import asyncio
import logging
import signal
from collections.abc import Callable

from ..errors import PodflareError
from .background import BackgroundWork
from .kernel_keeper import KernelKeeper
from .run import Cause, Run
from .settings import ExecutionSettings

log = logging.getLogger(__name__)

_LOOKS = 5
"""So often in the quiet time: between two looks whatever has arrived is read, however late the loop is."""


class RunWatch:
    """Watches one run. ``fell_silent`` is called when its idle will not come any more. ``close`` it at the end.

    ``occupied``: the kernel runs another client's cell, which the run may be waiting behind.
    """

    def __init__(
        self,
        run: Run,
        keeper: KernelKeeper,
        settings: ExecutionSettings,
        fell_silent: Callable[[], None],
        occupied: Callable[[], bool],
    ) -> None:
        self._run, self._keeper, self._settings = run, keeper, settings
        self._fell_silent, self._occupied = fell_silent, occupied
        self._loop = asyncio.get_running_loop()
        self._timers: list[asyncio.TimerHandle] = []
        self._grace: asyncio.TimerHandle | None = None
        self._due = False
        """An interrupt waits until the run begins."""
        self._work = BackgroundWork("a run's interrupt")

    def __repr__(self) -> str:
        return f"<RunWatch {self._run.cell_id} timers={len(self._timers)}>"

    def deadline(self, seconds: float) -> None:
        """End the run after so long."""
        self._timers.append(self._loop.call_later(seconds, self.stop, "timeout"))

    def stop(self, cause: Cause) -> None:
        """End the run now; the first reason counts."""
        if self._run.cause in ("timeout", "cancel"):
            return
        self._run.cause = cause
        if self._run.begun or self._occupied():
            self._work.begin(self._interrupt())
        self._due = not self._run.begun
        self._begin_grace()

    def interrupt_when_begun(self) -> None:
        """Interrupt it as soon as it begins."""
        self._due = True

    def began(self) -> None:
        """The kernel says that it runs."""
        if not self._due:
            return
        self._due = False
        self._work.begin(self._interrupt())
        if self._grace is not None:
            self._begin_grace()

    def replied(self) -> None:
        """The reply came without the idle, which stands behind all that was said before, of earlier runs, too.

        A kernel whose own queue is full drops output: do not wait for ever.
        """
        self._listen(self._keeper.heard_bytes, _LOOKS)

    def close(self) -> None:
        """The run is over."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self._grace is not None:
            self._grace.cancel()

    def _begin_grace(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
        self._grace = self._loop.call_later(self._settings.grace_seconds, self._keeper.begin_kill)

    async def _interrupt(self) -> None:
        try:
            await self._keeper.handle.send_signal(signal.SIGINT)
        except PodflareError as error:
            log.warning("A run could not be interrupted, its kernel will be killed: %s", error)

    def _listen(self, heard: int, looks: int) -> None:
        now = self._keeper.heard_bytes
        if now != heard:
            looks = _LOOKS
        if looks:
            seconds = self._settings.quiet_seconds / _LOOKS
            self._timers.append(self._loop.call_later(seconds, self._listen, now, looks - 1))
        else:
            self._fell_silent()
