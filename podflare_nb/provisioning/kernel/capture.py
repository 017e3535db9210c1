"""Turns what is written to file descriptors 1 and 2 into the kernel's stdout and stderr text.

Output of C code and of child processes comes this way. Two pipes stand at the descriptors; the service thread reads
them as data comes, and the main thread reads what is left before a cell is told idle, so such output belongs to the
cell that made it. C's own buffer is set to lines and flushed then, too. What is not promised: the exact place of C
output between two prints less than ``QUIET_SECONDS`` apart. C code that fills a whole pipe while it holds the GIL
waits for ever, as under any kernel; the pipes are as large as Linux allows, to make that unlikely.
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import fcntl
import os
import select
import sys
import threading
import time
from collections.abc import Callable

PIPE_BYTES = 1 << 20
READ_BYTES = 1 << 16
QUIET_SECONDS = 0.0002
STREAMS = {1: "stdout", 2: "stderr"}

_LIBC = ctypes.CDLL(None)  # gives up the GIL: fflush waits when a pipe is full, and the service thread must empty it
_LINE_BUFFERED = 1


class Capture:
    """The pipes behind descriptors 1 and 2. ``write(stream, text)`` takes what was read."""

    def __init__(self, write: Callable[[str, str], None]) -> None:
        self._write = write
        self._lock = threading.RLock()
        self._streams: dict[int, str] = {}
        self._decoders: dict[int, codecs.IncrementalDecoder] = {}
        self._poll = select.poll()
        self._last = 0.0
        for target, stream in STREAMS.items():
            self._put_pipe(target, stream)
        for name in ("stdout", "stderr"):
            _LIBC.setvbuf(ctypes.c_void_p.in_dll(_LIBC, name), None, _LINE_BUFFERED, ctypes.c_size_t(0))

    @property
    def fds(self) -> list[int]:
        """The reading ends."""
        return list(self._streams)

    def _put_pipe(self, target: int, stream: str) -> None:
        reading, writing = os.pipe2(os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # more than the user's allowance: the default size works, too
            fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        os.set_blocking(reading, False)
        os.dup2(writing, target)  # inheritable, as the standard streams of children are
        os.close(writing)
        self._streams[reading] = stream
        self._decoders[reading] = codecs.getincrementaldecoder("utf-8")("replace")
        self._poll.register(reading, select.POLLIN)

    def before_write(self) -> None:
        """Let what came through the pipes go first; skipped while prints follow each other closely."""
        now = time.monotonic()
        if now - self._last > QUIET_SECONDS:
            self.drain()
        self._last = now

    def drain(self) -> None:
        """Read what is in the pipes now."""
        with self._lock:
            self._drain()

    def try_drain(self) -> bool:
        """The same for a thread that must not wait; False: another thread is at it."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            self._drain()
        finally:
            self._lock.release()
        return True

    def _drain(self) -> None:
        for _ in range(PIPE_BYTES // READ_BYTES):  # a bound: a child may write without end
            ready = self._poll.poll(0)
            if not ready:
                return
            for fd, _event in ready:
                self._read(fd)

    def _read(self, fd: int) -> None:
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return
        text = self._decoders[fd].decode(data)
        if text:
            self._write(self._streams[fd], text)

    def close(self) -> None:
        """Close the reading ends."""
        for fd in self._streams:
            os.close(fd)

    def settle(self) -> None:
        """Flush C's and Python's buffers of the descriptors, then read what is in the pipes: a cell has ended."""
        for stream in (sys.__stdout__, sys.__stderr__):
            with contextlib.suppress(Exception):  # closed, or something else of the user's
                stream.flush()  # type: ignore[union-attr]  # the same
        _LIBC.fflush(None)
        self.drain()
