"""Bytes of a stream into events: one JSON object a line, as ``exec``, ``replay`` and ``chat`` send them.

No input or output happens here. Types that a client does not know pass through; whoever reads skips them.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import UnexpectedAnswerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_OWN_FIELDS = frozenset({"type", "data", "seq", "ts"})


# Not frozen: that would be a third of what an event costs, and a stream has thousands.
@dataclass(slots=True)
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


E = TypeVar("E", bound=Event)


def events_of(lines: Sequence[bytes], kind: type[E]) -> Iterator[E]:
    """Read lines, an event each; raises UnexpectedAnswerError for one that is none."""
    for line, found in zip(lines, _decoded(lines), strict=True):
        try:
            if len(found) == len(_OWN_FIELDS):
                event = kind(found["type"], found["data"], int(found["seq"]), int(found["ts"]))
            else:
                own = (found["type"], found.get("data"), int(found.get("seq", 0)), int(found.get("ts", 0)))
                event = kind(*own, {name: value for name, value in found.items() if name not in _OWN_FIELDS})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise _no_event(line) from error
        yield event


def _decoded(lines: Sequence[bytes]) -> Iterable[Any]:
    """Decode lines of JSON: at once if they are whole, which takes a third of the time; else one by one."""
    if len(lines) > 1:
        with suppress(ValueError):
            together: list[Any] = json.loads(b"[%b]" % b",".join(lines))
            if len(together) == len(lines):
                return together
    return map(_decoded_one, lines)


def _decoded_one(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise _no_event(line) from error


def _no_event(line: bytes) -> UnexpectedAnswerError:
    return UnexpectedAnswerError(f"The stream holds a line that is no event: {line[:200]!r}")


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
