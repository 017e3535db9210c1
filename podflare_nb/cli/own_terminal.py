"""The terminal that the command runs in: raw while a sandbox's one is in it, with its size, its keys and its signals.

Restored whatever happens. Where input or output is no terminal (a pipe), bytes go through as they are.
"""

from __future__ import annotations

import os
import selectors
import signal
import sys
import termios
import tty
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

READ_BYTES = 64 * 1024
BY_DEFAULT = (80, 24)
MOST = 1000
"""Columns or rows that the service takes."""


class OwnTerminal:
    """Standard input and output. ``wake`` may be called by any thread."""

    def __init__(self) -> None:
        self._input = sys.stdin.fileno()
        self._output = sys.stdout.fileno()
        self.is_terminal = os.isatty(self._input)
        self._woken, self._waker = -1, -1

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        try:
            columns, rows = os.get_terminal_size(self._output)
        except OSError:
            return BY_DEFAULT
        return min(columns, MOST) or BY_DEFAULT[0], min(rows, MOST) or BY_DEFAULT[1]

    @contextmanager
    def raw(self, on_end: Callable[[int], object]) -> Iterator[None]:
        """Hand every key through. ``on_end`` is told of a signal that wants the command to end."""
        self._woken, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        handlers = {
            number: signal.signal(number, lambda number, _frame: on_end(number))
            for number in (signal.SIGTERM, signal.SIGHUP)
        }
        handlers[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, lambda *_: None)
        former = signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        settings = termios.tcgetattr(self._input) if self.is_terminal else None
        try:
            if settings is not None:
                tty.setraw(self._input)
            yield
        finally:
            if settings is not None:
                termios.tcsetattr(self._input, termios.TCSADRAIN, settings)
            signal.set_wakeup_fd(former)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            os.close(self._woken)
            os.close(self._waker)

    def wake(self) -> None:
        """Make ``typed`` give something now."""
        os.write(self._waker, b"\0")

    def typed(self) -> Generator[bytes | None]:
        """Give what is typed, as it comes: empty at the end of input, None when something else happened."""
        with selectors.PollSelector() as selector:
            selector.register(self._input, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    data = os.read(key.fd, READ_BYTES)
                    if key.fd == self._woken:
                        yield None
                        continue
                    if not data:
                        selector.unregister(self._input)
                    yield data

    def show(self, data: bytes) -> None:
        """Write all of it."""
        while data:
            data = data[os.write(self._output, data) :]
