"""What the service tells of terminals, as plain records: rows of the list, events of a stream, pieces of output.

No input or output happens here. Bounds of a request are here, too, because the service refuses what is over them.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .errors import UnexpectedAnswerError
from .local_files import utf8

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

INPUT_BYTES = 1 << 19
"""Of one request; the service takes 1 MiB."""
KEPT_BYTES = 1 << 20
"""The service keeps so much of what a terminal said."""


@dataclass(frozen=True, slots=True)
class TerminalInfo:
    """One terminal of a sandbox."""

    id: str
    label: str
    """Its command, in short."""
    created_at_ms: int
    """Milliseconds since the epoch."""
    exit_code: int | None
    """None while it lives; 128 and the signal's number where a signal ended it; -1 if it cannot be known."""
    raw: dict[str, Any] = field(repr=False)

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> TerminalInfo:
        """Read one row of the list of terminals."""
        return cls(
            id=str(answer["pty_id"]),
            label=str(answer.get("cmd_label") or ""),
            created_at_ms=int(answer.get("created_at_ms") or 0),
            exit_code=answer.get("exit_code"),
            raw=dict(answer),
        )


@dataclass(frozen=True, slots=True)
class TerminalEvent:
    """One event of a terminal's stream. ``seq``: how many bytes it had said by then, the event's own included."""

    type: str
    """pty_ready, pty_data, pty_exit, pty_error, notice or keepalive; others are to be skipped."""
    seq: int
    fields: dict[str, Any]

    @property
    def output(self) -> bytes:
        """What the terminal said; empty in any other event."""
        return bytes_of(self.fields.get("data_b64"))

    @property
    def session_id(self) -> str:
        """The terminal's id, where it is made known."""
        return str(self.fields.get("session_id") or self.fields.get("data"))

    @property
    def message(self) -> str:
        """The sentence of an error."""
        return str(self.fields.get("message") or self.fields.get("data") or "The terminal failed.")

    @property
    def exit_code(self) -> int:
        """Of the exit."""
        code = self.fields.get("data")
        return code if isinstance(code, int) else -1

    @property
    def dropped_bytes(self) -> int:
        """How many bytes before this event are kept no more."""
        told = self.fields.get("data")
        return int(told.get("dropped_bytes") or 0) if isinstance(told, dict) else 0


def terminal_events(lines: Sequence[bytes]) -> Iterator[TerminalEvent]:
    """Read lines, an event each; raises UnexpectedAnswerError for one that is none."""
    for line in lines:
        try:
            found = json.loads(line)
            yield TerminalEvent(str(found["type"]), int(found.get("seq", 0)), found)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UnexpectedAnswerError(f"The stream holds a line that is no event: {line[:200]!r}") from error


def bytes_of(text: object) -> bytes:
    """Decode what came as base64; raises UnexpectedAnswerError."""
    try:
        return base64.b64decode(text) if isinstance(text, str) else b""
    except ValueError as error:
        raise UnexpectedAnswerError("The service sent output that is not base64.") from error


def pieces_of(data: bytes | str) -> Iterator[str]:
    """Cut what is typed into what requests take, as base64; text is UTF-8."""
    whole = utf8(data) if isinstance(data, str) else bytes(data)
    for start in range(0, len(whole), INPUT_BYTES):
        yield base64.b64encode(whole[start : start + INPUT_BYTES]).decode()


def command_fields(command: str | Sequence[str] | None) -> dict[str, Any]:
    """Say a command as the service wants it: text is bash's, words are run as they are, None is a login shell."""
    if command is None:
        return {}
    return {"shellCmd": command} if isinstance(command, str) else {"argv": [str(word) for word in command]}
