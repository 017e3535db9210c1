"""What a kernel publishes, in one order: finished messages and text that still grows, sent by whoever comes first.

Every thread publishes in its own call, under one lock: there is no publishing thread to hop to. Text written to the
standard streams collects here and becomes a message when it is long enough, when another message follows it, or when
the timer that the first write sets runs out; so lines from a loop coalesce and a line from a long cell still shows
at once. Because text and messages stand in one queue, nothing overtakes.

When a subscriber reads too slowly the socket fills and publishers wait (backpressure); when it reads nothing for
``stall_seconds`` the socket is told to drop what does not fit, for that subscriber only, until it reads again. The
lock is never held while waiting, and an exception raised at any byte code by a signal handler leaves the queue
intact: an entry leaves it only when all its frames are sent.

Below stands a ``Port`` (ZeroMQ's, in ``transport``); above, ipykernel's streams and session in ``ipykernel_seam``.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

MAX_TEXT = 64 * 1024
"""Bytes of UTF-8 in one stream message, at most."""
FLUSH_SECONDS = 0.02
"""How long written text may wait for more."""
RETRY_SECONDS = 0.002
STALL_SECONDS = 10.0
MAX_RUNS = 64
"""So many pieces of text that alternate between the streams keep their order; beyond, each stream's are joined."""


Serialize = Callable[[str, dict[str, Any], str], Sequence[bytes]]
"""Makes a stream message's frames of the stream's name, the request that it answers, and the text."""


class Port(Protocol):
    """Where messages leave."""

    def send(self, frames: Sequence[bytes], sent: list[int], *, lossy: bool) -> bool:
        """Send what ``sent`` does not yet list. False: a subscriber's queue is full (never with ``lossy``)."""

    def greetings(self) -> Sequence[Sequence[bytes]]:
        """Messages for subscribers that came since the last call."""


class Entry:
    """A message in the queue: its frames, and one item in ``sent`` for each that has left."""

    __slots__ = ("frames", "sent")

    def __init__(self, frames: Sequence[bytes] | None) -> None:
        self.frames = frames
        self.sent: list[int] = []

    def close(self, serialize: Serialize) -> Sequence[bytes]:  # noqa: ARG002  # for entries of text
        """Nothing more is added: what is sent."""
        return self.frames or ()


class TextEntry(Entry):
    """Text of one stream that answers one request. Open while ``frames`` is None; ``size`` is at least its UTF-8."""

    __slots__ = ("parent", "parts", "size", "stream")

    def __init__(self, stream: str, parent: dict[str, Any]) -> None:
        super().__init__(None)
        self.stream = stream
        self.parent = parent
        self.parts: list[str] = []
        self.size = 0

    def close(self, serialize: Serialize) -> Sequence[bytes]:
        """Make the message of all parts."""
        return serialize(self.stream, self.parent, "".join(self.parts))


class Outbox:
    """The queue."""

    def __init__(
        self,
        serialize: Serialize,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        self._serialize = serialize
        self._clock = clock
        self._sleep = sleep
        self._stall_seconds = stall_seconds
        self._stalled_since: float | None = None
        self._entries: deque[Entry] = deque()
        self._lock = threading.RLock()
        self._port: Port | None = None
        self._wake_later: Callable[[], None] = lambda: None
        self._never_waits: int | None = None
        self._last_due = 0.0

    def connect(self, port: Port | None, wake_later: Callable[[], None]) -> None:
        """Start on a new port with nothing queued.

        In a forked child the old lock may be held by a thread that does not exist here: it is replaced. Without a
        port (a template) everything is dropped.
        """
        self._lock = threading.RLock()
        self._entries = deque()
        self._stalled_since = None
        self._port = port
        self._wake_later = wake_later
        self._never_waits = None

    def spare_this_thread(self) -> None:
        """The calling thread only ever tries to send; what does not fit it leaves to the timer."""
        self._never_waits = threading.get_ident()

    @property
    def never_waits(self) -> bool:
        """Whether the calling thread is the one that never waits."""
        return threading.get_ident() == self._never_waits

    @property
    def backlogged(self) -> bool:
        """So much is queued that whoever can should produce no more for now."""
        return len(self._entries) > MAX_RUNS

    def write(self, stream: str, parent: dict[str, Any], text: str) -> None:
        """Queue text of a stream ("stdout" or "stderr"); sent soon. Waits while subscribers are too slow."""
        for piece in pieces(text):
            size = len(piece) if piece.isascii() else 4 * len(piece)
            with self._lock:
                was_empty = not self._entries
                entry = self._entry_for(stream, parent, size)
                entry.parts.append(piece)
                entry.size += size
                full = entry.size >= MAX_TEXT
            if full:
                self.flush()
            elif was_empty:
                self._wake_later()

    def _entry_for(self, stream: str, parent: dict[str, Any], size: int) -> TextEntry:
        reach = MAX_RUNS if len(self._entries) >= MAX_RUNS else 1
        for entry in islice(reversed(self._entries), reach):
            if not isinstance(entry, TextEntry) or entry.frames is not None:
                break
            if entry.stream == stream and entry.parent is parent and entry.size + size <= MAX_TEXT:
                return entry
        fresh = TextEntry(stream, parent)
        self._entries.append(fresh)
        return fresh

    def publish(self, frames: Sequence[bytes]) -> None:
        """Queue a message and send all that is queued, in order. Waits while subscribers are too slow."""
        self._entries.append(Entry(frames))
        self.flush()

    def flush_if_due(self) -> None:
        """Send now what would wait for the timer, unless the last such send was a moment ago: order needs no flush."""
        now = self._clock()
        if self._entries and now - self._last_due > FLUSH_SECONDS:
            self._last_due = now
            self.flush()

    def flush(self) -> None:
        """Send all that is queued; waits for a full socket, except in the thread that never waits."""
        while True:
            with self._lock:
                if self._advance():
                    return
            if self.never_waits:
                self._wake_later()
                return
            self._sleep(RETRY_SECONDS)

    def _advance(self) -> bool:
        """Send from the head of the queue until it is empty (True) or the socket is full. The lock is held."""
        while True:
            while self._entries:
                entry = self._entries[0]
                if entry.frames is None:
                    entry.frames = entry.close(self._serialize)
                if not self._leave(entry.frames, entry.sent):
                    return False
                if self._entries and self._entries[0] is entry:
                    self._entries.popleft()
            if self._port is None or not self._greet(self._port):
                return True

    def _greet(self, port: Port) -> bool:
        greetings = port.greetings()
        self._entries.extend(Entry(frames) for frames in greetings)
        return bool(greetings)

    def _leave(self, frames: Sequence[bytes], sent: list[int]) -> bool:
        if self._port is None or self._port.send(frames, sent, lossy=False):
            self._stalled_since = None
            return True
        now = self._clock()
        if self._stalled_since is None:
            self._stalled_since = now
        if now - self._stalled_since < self._stall_seconds:
            return False
        return self._port.send(frames, sent, lossy=True)


def pieces(text: str) -> Iterator[str]:
    """Cut text so that each piece is at most MAX_TEXT bytes of UTF-8; what UTF-8 cannot hold is escaped."""
    if text.isascii():
        step = MAX_TEXT
    else:
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-8", "backslashreplace").decode()
        step = MAX_TEXT // 4
    if len(text) <= step:
        if text:
            yield text
        return
    for start in range(0, len(text), step):
        yield text[start : start + step]
