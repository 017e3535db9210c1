"""SIGINT: raises KeyboardInterrupt in the user's code and nowhere else.

One handler for the whole life of a kernel. A cell that is running gets a KeyboardInterrupt; a cell that awaits is
cancelled (and reported as interrupted); between cells nothing happens, except that a background task of the user's
that keeps the event loop busy is broken. Code of the kernel itself is never interrupted. Called in the main thread.
"""

from __future__ import annotations

import asyncio
import signal
from types import FrameType
from typing import Any


class Interrupts:
    """``armed``: the user's code runs now. ``cell``: the task of a cell that may await. Set by the kernel."""

    def __init__(self) -> None:
        self.armed = False
        self.cell: asyncio.Task[Any] | None = None
        self.cancelled = False
        """The cell's task was cancelled because of a SIGINT: its CancelledError means KeyboardInterrupt."""
        self.own_tasks: set[asyncio.Task[Any]] = set()
        """Tasks of the kernel itself."""

    def install(self) -> None:
        """Be the handler of SIGINT, whatever the user's last cell set it to."""
        signal.signal(signal.SIGINT, self)

    def __call__(self, _signum: int, _frame: FrameType | None) -> None:
        """SIGINT has come."""
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
