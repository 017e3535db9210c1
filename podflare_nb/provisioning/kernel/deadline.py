"""SIGINT for the main thread when a time is up, by a timer of Linux's (timer_create(2)).

A thread that waits would do, too, but a fork of the kernel cannot begin before it has started and ended, and on a busy
machine each of the two takes milliseconds. A forked child has no timers of its parent's.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterator

from .timer import Itimerspec

SIGEV_THREAD_ID = 4
"""Tell one thread (sigevent(7)): what it is blocked in is broken off. Python's main thread has the process's number."""


class _Sigevent(ctypes.Structure):
    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("thread_id", ctypes.c_int),
        ("rest", ctypes.c_char * 44),
    )


_LIBC = ctypes.PyDLL(None, use_errno=True)
if not hasattr(_LIBC, "timer_create"):  # glibc before 2.34 has it in a library of its own
    _LIBC = ctypes.PyDLL("librt.so.1", use_errno=True)
_getpid = os.getpid  # the user may put something else in its place


@contextlib.contextmanager
def deadline(seconds: float, again: float) -> Iterator[None]:
    """After so many seconds SIGINT comes, and every ``again`` seconds then until the block is left. In the main thread.

    Raises OSError: there is no room for a timer.
    """
    event = _Sigevent(None, signal.SIGINT, SIGEV_THREAD_ID, _getpid())
    timer = ctypes.c_void_p()
    if _LIBC.timer_create(time.CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(timer)):
        raise OSError(ctypes.get_errno(), "no room for a timer (RLIMIT_SIGPENDING)")
    try:
        if _LIBC.timer_settime(timer, 0, ctypes.byref(Itimerspec.after(seconds, again)), None):
            raise OSError(ctypes.get_errno(), "timer_settime")
        yield
    finally:
        _LIBC.timer_delete(timer)
