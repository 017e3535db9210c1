"""SIGINT: raises KeyboardInterrupt in the user's code and nowhere else.

One handler for the whole life of a kernel. A cell that is running gets a KeyboardInterrupt; a cell that awaits is
cancelled (and reported as interrupted); one that clients have been told of and that does not run yet is broken when it
does. Between cells nothing happens, except that a background task of the user's that keeps the event loop busy is
broken. Code of the kernel itself is never interrupted. Called in the main thread.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import CalledProcessError
from types import FrameType, TracebackType
from typing import Any

from .deadline import deadline

AGAIN_SECONDS = 0.1
CHAINED = 100
"""Of exceptions that were raised while others were handled, so many are looked at."""
_PACKAGE = __name__.rpartition(".")[0]
_NOT_RAISED_BY_THE_USER = (KeyboardInterrupt, CalledProcessError)
"""What the kernel itself raises in a cell: an interrupt, or a command that failed."""


class Interrupts:
    """``armed``: the user's code runs now. ``cell``: the task of a cell that may await. Set by the kernel."""

    def __init__(self) -> None:
        self.armed = False
        self._announced = self._early = False
        self.cell: asyncio.Task[Any] | None = None
        self.cancelled = False
        """The cell's task was cancelled because of a SIGINT: its CancelledError means KeyboardInterrupt."""
        self.own_tasks: set[asyncio.Task[Any]] = set()
        """Tasks of the kernel itself."""

    def install(self) -> None:
        """Be the handler of SIGINT, whatever the user's last cell set it to."""
        signal.signal(signal.SIGINT, self)

    def reset(self) -> None:
        """Nothing runs: in a new process, or before one serves."""
        self.armed = self.cancelled = self._announced = self._early = False
        self.cell = None
        self.own_tasks.clear()

    def announce(self) -> None:
        """Clients are told of a cell now: a SIGINT that comes before it runs is for it."""
        self._announced, self._early = True, False

    def begin(self) -> bool:
        """The cell that was announced is to run now; False if SIGINT has come meanwhile."""
        early, self._announced, self._early = self._early, False, False
        return not early

    @contextmanager
    def arm(self) -> Iterator[None]:
        """The user's code runs in this block: SIGINT raises in it."""
        self.armed = True
        try:
            yield
        finally:
            self.armed = False

    @contextmanager
    def after(self, seconds: float) -> Iterator[None]:
        """After so many seconds SIGINT comes by itself, again and again until the block is left. In the main thread.

        Raises OSError as ``deadline`` does."""
        self.install()
        with deadline(seconds, AGAIN_SECONDS):
            yield

    def __call__(self, _signum: int, _frame: FrameType | None) -> None:
        """SIGINT has come."""
        if self._announced and not self.armed:
            self._early = True
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        current = asyncio.current_task(loop) if loop is not None else None
        if self.armed and (self.cell is None or current is self.cell):
            raise KeyboardInterrupt
        if self.armed and self.cell is not None and loop is not None:
            self.cancelled = True
            loop.call_soon_threadsafe(self.cell.cancel)
        if current is not None and current not in self.own_tasks:
            raise KeyboardInterrupt


def cut(error: BaseException | None, namespace: dict[str, Any]) -> None:
    """Take the kernel's own frames off the end of a traceback of what it raised. ``namespace``: the cells' globals.

    What a cell called of the kernel (print, ``!``) and this handler say nothing to the user.
    """
    for _ in range(CHAINED):
        if error is None:
            return
        if issubclass(type(error), _NOT_RAISED_BY_THE_USER):
            _cut(_traceback(error), namespace)
        error = _cause(error) or _context(error)


_traceback, _cause, _context = (
    vars(BaseException)[name].__get__ for name in ("__traceback__", "__cause__", "__context__")
)


def _cut(trace: TracebackType | None, namespace: dict[str, Any]) -> None:
    """The cut is before the first frame of the kernel's below the last of a cell."""
    before: TracebackType | None = None
    last = None
    while trace is not None:
        if trace.tb_frame.f_globals is namespace:
            before = None
        elif before is None and _is_own(trace.tb_frame):
            before = last
        last, trace = trace, trace.tb_next
    if before is not None:
        before.tb_next = None


def _is_own(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__")
    return type(name) is str and name.startswith(_PACKAGE)
