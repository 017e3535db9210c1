"""The events of ``exec`` and ``replay`` as types: one JSON object a line.

What the OpenAPI document tells, and what tests hold the stream against; ``sandboxes.exec_events`` makes the events
themselves, as plain JSON. Clients skip types that they do not know.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from .notebook import MimeBundle
from .responses import Response
from .states import ExecutionStatus


class StreamEvent(Response):
    """Base of all: ``seq`` counts from 0 in each call; ``ts`` is milliseconds since the epoch."""

    seq: int
    ts: int


class StdoutEvent(StreamEvent):
    """One line of stdout, without its newline."""

    type: Literal["stdout"]
    data: str


class StderrEvent(StreamEvent):
    """One line of stderr, without its newline; a traceback, too."""

    type: Literal["stderr"]
    data: str


class ResultEvent(StreamEvent):
    """The value of the last expression."""

    type: Literal["result"]
    data: MimeBundle
    metadata: dict[str, Any]
    execution_count: int | None
    display_id: str | None = None


class DisplayEvent(StreamEvent):
    """Something displayed; with ``update``, in place of what had its ``display_id`` before."""

    type: Literal["display"]
    data: MimeBundle
    metadata: dict[str, Any]
    display_id: str | None = None
    update: bool = False


class Traceback(Response):
    """An exception as Python tells it; the traceback may have terminal colours."""

    ename: str
    evalue: str
    traceback: list[str]


class Failure(Response):
    """The service failed in the middle of the stream; this is its last event, with ``seq`` -1."""

    code: str
    message: str


class ErrorEvent(StreamEvent):
    """An exception, or the service's own failure."""

    type: Literal["error"]
    data: Traceback | Failure


class Notice(Response):
    """What a reader should know: ``output_truncated`` (with bytes), ``kernel_restarted``."""

    code: str
    message: str
    produced_bytes: int | None = None
    kept_bytes: int | None = None


class NoticeEvent(StreamEvent):
    """Something that is no output."""

    type: Literal["notice"]
    data: Notice


class RefusedConnection(Response):
    """A connection that the sandbox's egress policy refused. ``reason``: a sentence."""

    verdict: Literal["refused"]
    protocol: str
    host: str
    port: int | None
    reason: str | None


class NetworkEvent(StreamEvent):
    """Why something could not be reached, told while the code runs that tried."""

    type: Literal["network"]
    data: RefusedConnection


class ExitEvent(StreamEvent):
    """The end. ``data``: 0, 1 for an exception, n of ``sys.exit(n)``, bash's own, 124 timeout, 130 interrupted,
    137 died. ``turn_id`` where checkpoints are kept, or the call named one."""

    type: Literal["exit"]
    data: int
    status: ExecutionStatus
    execution_count: int | None
    state_preserved: bool
    cell_id: str
    turn_id: str | None = None
    message: str | None = None


ExecEvent = Annotated[
    StdoutEvent | StderrEvent | ResultEvent | DisplayEvent | ErrorEvent | NoticeEvent | NetworkEvent | ExitEvent,
    Field(discriminator="type"),
]
