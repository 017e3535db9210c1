"""The numbered events of one turn: one writer, any number of readers, resumable by seq.

A reader is a place in the log and not a queue, so a slow or absent reader costs nothing. The log is bounded by
bytes; its overflow rule is that the oldest events go first, and a reader that comes to the gap gets one
``notice`` event that names what is missing and where it can still be read: in the notebook.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from ..errors import InvalidArgumentError
from .events import ChatEvent, EventType

MAX_LOG_BYTES = 16 * 1024 * 1024
"""Events held for one turn. A turn of ordinary plots and tables stays far below it."""


class EventLog:
    """Append on one side, ``follow`` on the other; ends with ``close``."""

    def __init__(self, now_ms: Callable[[], int], max_bytes: int = MAX_LOG_BYTES) -> None:
        self._now_ms = now_ms
        self._max_bytes = max_bytes
        self._events: list[ChatEvent] = []
        self._sizes: list[int] = []
        self._first_seq = 0
        self.held_bytes = 0
        self.closed = False
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<EventLog {state}, seq {self._first_seq}..{self.last_seq}, {self.held_bytes} bytes>"

    @property
    def last_seq(self) -> int:
        """The seq of the newest event; -1 before the first."""
        return self._first_seq + len(self._events) - 1

    def append(self, type_: EventType, data: dict[str, Any]) -> ChatEvent:
        """Number, keep and announce one event."""
        event = ChatEvent(type=type_, data=data, seq=self.last_seq + 1, ts=self._now_ms())
        size = len(event.json())
        self._events.append(event)
        self._sizes.append(size)
        self.held_bytes += size
        self._drop_oldest()
        self._announce()
        return event

    def close(self) -> None:
        """No event comes any more: readers end when they have read all."""
        self.closed = True
        self._announce()

    def follow(self, after: int = -1) -> AsyncIterator[ChatEvent]:
        """Every event with a seq above ``after``, held ones first, then live ones, until the log is closed.

        Raises InvalidArgumentError for an ``after`` that this turn has not reached: waiting for it would hide
        that the client mixed up two turns.
        """
        if after < -1 or after > self.last_seq:
            raise InvalidArgumentError(
                f"after={after} is not the seq of an event of this turn; its last is {self.last_seq}.",
                last_seq=self.last_seq,
            )
        return self._follow(after + 1)

    async def _follow(self, next_seq: int) -> AsyncIterator[ChatEvent]:
        while True:
            if next_seq < self._first_seq:
                notice = self._gap_notice(next_seq)
                next_seq = self._first_seq
                yield notice
            elif next_seq <= self.last_seq:
                event = self._events[next_seq - self._first_seq]
                next_seq += 1
                yield event
            elif self.closed:
                return
            else:
                await self._changed.wait()

    def _gap_notice(self, next_seq: int) -> ChatEvent:
        """Stands in for the events that are gone; carries the last one's seq, so that resuming after it works."""
        last_gone = self._first_seq - 1
        message = (
            f"Events {next_seq} to {last_gone} of this turn are no longer held in memory. "
            "Their cells and outputs are in the notebook."
        )
        data = {"code": "events_dropped", "first": next_seq, "last": last_gone, "message": message}
        return ChatEvent(type="notice", data=data, seq=last_gone, ts=self._events[0].ts)

    def _drop_oldest(self) -> None:
        drop = 0
        while self.held_bytes > self._max_bytes and drop < len(self._events) - 1:
            self.held_bytes -= self._sizes[drop]
            drop += 1
        if drop:
            del self._events[:drop], self._sizes[:drop]
            self._first_seq += drop

    def _announce(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
