"""A timer that one thread sets with a single system call and another thread's event loop hears.

asyncio's own way (``call_soon_threadsafe``) wakes the other thread at once, which then competes for the GIL with the
cell that is running; a timerfd wakes it only when the time is up. Python has timerfd from 3.13 on; before, libc.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from typing import Self

_TFD_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK


class Itimerspec(ctypes.Structure):
    """When a timer fires, and how often from then on (timer_settime(2))."""

    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )

    @classmethod
    def after(cls, seconds: float, again: float = 0.0) -> Self:
        """After so many seconds, and each time that ``again`` has passed then; 0: once."""
        return cls(int(again), int(again % 1 * 1e9), int(seconds), int(seconds % 1 * 1e9))


_LIBC = ctypes.PyDLL(None, use_errno=True)
_SETTIME = _LIBC.timerfd_settime
_SETTIME.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


class Timer:
    """Fires once, ``seconds`` after ``arm``; ``fd`` becomes readable then, ``acknowledge`` resets it."""

    def __init__(self, seconds: float) -> None:
        self.fd: int = _LIBC.timerfd_create(time.CLOCK_MONOTONIC, _TFD_FLAGS)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._spec = Itimerspec.after(seconds)
        self._address = ctypes.addressof(self._spec)

    def arm(self) -> None:
        """Start anew."""
        _SETTIME(self.fd, 0, self._address, None)

    def acknowledge(self) -> None:
        """Take note that it fired."""
        with contextlib.suppress(BlockingIOError):  # armed anew by another thread since it fired
            os.read(self.fd, 8)
