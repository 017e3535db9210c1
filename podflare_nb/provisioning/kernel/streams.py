"""The kernel's ``sys.stdout`` and ``sys.stderr``: text goes to the outbox, in order with captured output.

A process that the user forks writes to the captured descriptor instead, and the kernel publishes it.
"""

from __future__ import annotations

import contextvars
import io
import os
import sys
import threading
from collections.abc import Iterable
from typing import Any

from ipykernel.iostream import OutStream

from .capture import STREAMS, Capture
from .outbox import Outbox


class KernelStream(OutStream):
    """An OutStream by type (libraries ask), with none of its thread, pipe and buffers."""

    def __init__(self, fd: int, session: Any, publisher: Any, outbox: Outbox) -> None:
        # Not OutStream's __init__: it starts a thread and pipes. What its other methods read is set here.
        io.TextIOBase.__init__(self)
        self.name = STREAMS[fd]
        self.topic = f"stream.{self.name}".encode()
        self.session = session
        self.pub_thread = publisher
        self.echo = None
        self._fd = fd
        self._outbox = outbox
        self._capture: Capture | None = None
        self._isatty = False
        self._should_watch = False
        self._local = threading.local()
        self._master_pid = os.getpid()
        self._parent_header = contextvars.ContextVar("parent_header")
        self._parent_header.set({})
        self._parent_header_global: dict[str, Any] = {}
        self.buffer = io.FileIO(fd, "w", closefd=False)
        """For bytes; what is written to it is captured like the output of C code."""

    def connect(self, capture: Capture | None) -> None:
        """Be this process's stream; with None, a template's, which goes nowhere."""
        self._capture = capture
        self._master_pid = os.getpid()

    def fileno(self) -> int:
        """The captured descriptor: what is written to it shows in the cell."""
        return self._fd

    def write(self, string: str) -> int:
        """Publish text soon."""
        if not isinstance(string, str):
            raise TypeError(f"write() argument must be str, not {type(string)}")
        if self.pub_thread is None:
            raise ValueError("I/O operation on closed file")
        if os.getpid() != self._master_pid:
            self._write_through(string)
        else:
            if self._capture is not None:
                self._capture.before_write()
            self._outbox.write(self.name, self.parent_header, string)
        return len(string)

    def _write_through(self, string: str) -> None:
        data = memoryview(string.encode("utf-8", "backslashreplace"))
        while data:
            data = data[os.write(self._fd, data) :]

    def flush(self) -> None:
        """Publish now, unless that was done a moment ago; then the timer does."""
        if os.getpid() == self._master_pid:
            self._outbox.flush_if_due()

    def close(self) -> None:
        """Nothing more is taken."""
        self.pub_thread = None


def mend(streams: Iterable[KernelStream], parent: dict[str, Any]) -> list[str]:
    """Put the kernel's streams back where the user left what none can write to; a sentence for each.

    ipykernel writes to and flushes whatever stands there after every request, and answers none if that fails.
    """
    mended = []
    for stream in streams:
        there = getattr(sys, stream.name, None)
        if type(there) is KernelStream or _works(there):
            continue
        setattr(sys, stream.name, stream)
        stream.set_parent(parent)  # type: ignore[no-untyped-call]  # ipykernel is typed in part
        mended.append(
            f"sys.{stream.name} was {type(there).__name__:.100}, which does not work as a stream: put back.\n"
        )
    return mended


def _works(stream: Any) -> bool:
    try:
        stream.flush()
        getattr(stream, "set_parent", None)
        return callable(stream.write) and not getattr(stream, "closed", False)
    except BaseException:  # noqa: BLE001  # the user's, whatever it raises: an interrupt of a flush that hangs, too
        return False
