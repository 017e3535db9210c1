"""Bytes of a stream into events: one JSON object a line, as ``exec``, ``replay`` and ``chat`` send them.

No input or output happens here. Types that a client does not know pass through; whoever reads skips them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from .errors import UnexpectedAnswerError

_OWN_FIELDS = frozenset({"type", "data", "seq", "ts"})


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream.

    ``seq`` counts from 0 in each call (each turn, for a chat); ``ts`` is milliseconds since the epoch;
    ``fields`` holds what some types carry beside ``data`` (an exit's ``status``, a result's ``metadata``).
    """

    type: str
    data: Any
    seq: int
    ts: int
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The piece of text of a chat's text-delta; of stdout and stderr, the line."""
        if isinstance(self.data, str):
            return self.data
        if isinstance(self.data, dict) and isinstance(text := self.data.get("text"), str):
            return text
        return ""


class ChatEvent(Event):
    """One event of a turn: turn-start, text-delta, cell-start, cell-output, cell-end, usage, turn-end, ..."""

    __slots__ = ()


def event_of_line(line: bytes, kind: type[Event] = Event) -> Event:
    """Read one line; raises UnexpectedAnswerError for one that is no event."""
    try:
        found = json.loads(line)
        own = (found["type"], found.get("data"), int(found.get("seq", 0)), int(found.get("ts", 0)))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UnexpectedAnswerError(f"The stream holds a line that is no event: {line[:200]!r}") from error
    if len(found) == len(_OWN_FIELDS):
        return kind(*own)
    return kind(*own, {name: value for name, value in found.items() if name not in _OWN_FIELDS})


class LineSplitter:
    """Chunks in, whole lines out. A line may be many chunks long (a picture): its pieces are joined once."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next chunk; give the lines that it completed, without newlines and without empty ones."""
        head, newline, rest = chunk.partition(b"\n")
        if not newline:
            self._pieces.append(chunk)
            return []
        lines = [b"".join((*self._pieces, head)), *rest.split(b"\n")]
        tail = lines.pop()
        self._pieces = [tail] if tail else []
        return [line for line in lines if line.strip()]

    def rest(self) -> bytes:
        """What came after the last newline: not empty means that the stream was cut inside a line."""
        return b"".join(self._pieces)
