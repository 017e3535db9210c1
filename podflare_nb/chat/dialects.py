"""In which form a turn's events go to a client: NDJSON, server-sent events, Vercel's stream or AG-UI's.

``choose_dialect`` reads the request; the handler then writes ``encode(event)`` for every event of the turn.
"""

from __future__ import annotations

from typing import Literal, Protocol, cast, get_args

from ..errors import InvalidArgumentError
from .ag_ui import AgUiStream
from .events import NDJSON, SSE, ChatEvent
from .vercel import VercelStream

DialectName = Literal["ndjson", "sse", "vercel", "ag-ui"]


class Dialect(Protocol):
    """Encode the events of one stream. ``resumable``: may begin after a seq; the others begin at the start."""

    content_type: str
    resumable: bool
    headers: dict[str, str]

    def encode(self, event: ChatEvent) -> bytes:
        """Give the bytes for one event; there may be none."""
        ...


class NdjsonStream:
    """One line of JSON for each event."""

    content_type = NDJSON
    resumable = True

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}

    def encode(self, event: ChatEvent) -> bytes:
        """Give the event's line."""
        return event.ndjson()


class SseStream:
    """Server-sent events; the id is the seq, so a browser's EventSource resumes by itself (Last-Event-ID)."""

    content_type = SSE
    resumable = True

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}

    def encode(self, event: ChatEvent) -> bytes:
        """Give the server-sent event."""
        return event.sse()


def choose_dialect(accept: str, asked: str | None, sandbox_id: str) -> Dialect:
    """Choose by the query parameter ``format``, else by the Accept header, else NDJSON.

    Raises InvalidArgumentError for a format that is not one of ``DialectName``.
    """
    if asked is not None and asked not in get_args(DialectName):
        known = ", ".join(get_args(DialectName))
        raise InvalidArgumentError(f"format is {asked!r}; it must be one of {known}.")
    name = cast("DialectName | None", asked) or ("sse" if SSE in accept.lower() else "ndjson")
    match name:
        case "ndjson":
            return NdjsonStream()
        case "sse":
            return SseStream()
        case "vercel":
            return VercelStream()
        case "ag-ui":
            return AgUiStream(sandbox_id)
