"""Terminals on the wire: what clients send to them, what they answer, and the events of their streams.

``seq`` of an event is how many bytes the terminal had said in all by then, those of the event itself included; so a
reader that has the event goes on behind it with ``since_seq``. Clients skip types that they do not know.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, RootModel, StringConstraints

from .requests import Request, VariableName, VariableValue
from .responses import Response

MAX_SIZE = 1000
"""Columns or rows."""
MAX_COMMAND_BYTES = 64 * 1024
"""Of the command, its environment and its directory together, as JSON."""
MAX_INPUT_BYTES = 1 << 20
MAX_READ_BYTES = 1 << 20
MAX_READ_MS = 600_000
READ_BYTES, READ_MS = 64 * 1024, 10_000
COLUMNS, ROWS = 80, 24

Size = Annotated[int, Field(ge=1, le=MAX_SIZE)]
Word = Annotated[str, StringConstraints(max_length=MAX_COMMAND_BYTES, pattern=r"^[^\x00]*$")]
SIZE = "a whole number from 1 to 1000"


class CreateTerminal(Request):
    """``POST /v1/sandboxes/{id}/pty``. Neither ``shellCmd`` nor ``argv``: a login shell."""

    shellCmd: Annotated[  # noqa: N815 - the wire's name
        str | None,
        Field(
            min_length=1,
            max_length=MAX_COMMAND_BYTES,
            pattern=r"^[^\x00]*$",
            description="a string for bash -lc that is not empty and has no NUL",
        ),
    ] = None
    argv: Annotated[
        list[Word] | None,
        Field(min_length=1, max_length=1024, description="a list of 1 to 1024 strings without NUL"),
    ] = None
    cols: Annotated[Size | None, Field(description=SIZE)] = None
    rows: Annotated[Size | None, Field(description=SIZE)] = None
    env: Annotated[
        list[tuple[VariableName, VariableValue]] | None,
        Field(
            max_length=128,
            description="a list of at most 128 pairs [name, value], whose names are letters, digits and _",
        ),
    ] = None
    cwd: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=4096,
            pattern=r"^[^\x00]*$",
            description="the path of a directory in the sandbox, of at most 4096 characters",
        ),
    ] = None


class TerminalInput(Request):
    """``POST .../pty/{pid}/input``."""

    data_b64: Annotated[str, Field(description="a string of base64")]


class ResizeTerminal(Request):
    """``POST .../pty/{pid}/resize``."""

    cols: Annotated[Size, Field(description=SIZE)]
    rows: Annotated[Size, Field(description=SIZE)]


class ReadTerminal(Request):
    """``POST .../pty/{pid}/read``: what came after ``since_seq``, or the first of it that comes."""

    since_seq: Annotated[int | None, Field(ge=0, le=1 << 62, description="a seq of this terminal, or 0")] = None
    max_bytes: Annotated[
        int | None, Field(ge=1, le=MAX_READ_BYTES, description="a whole number of bytes from 1 to 1048576")
    ] = None
    timeout_ms: Annotated[
        int | None, Field(ge=0, le=MAX_READ_MS, description="a whole number of milliseconds from 0 to 600000")
    ] = None


class TerminalInfo(Response):
    """One terminal. ``cmd_label``: its command, in short; ``exit_code``: null while it lives."""

    pty_id: str
    cmd_label: str
    created_at_ms: int
    exit_code: int | None


class TerminalList(RootModel[list[TerminalInfo]]):
    """``GET /v1/sandboxes/{id}/pty``: those that live, and the last that have ended, oldest first."""


class TerminalOutput(Response):
    """``POST .../pty/{pid}/read``. ``seq``: read on from there; ``dropped_bytes``: what came after ``since_seq`` and is
    kept no more; ``exit_code``: null until the terminal has ended and all of it is read."""

    data_b64: str
    seq: int
    dropped_bytes: int
    exit_code: int | None


class TerminalEventBase(Response):
    """Base of all events. ``ts``: milliseconds since the epoch."""

    seq: int
    ts: int


class ReadyEvent(TerminalEventBase):
    """The terminal runs; the first event of the stream that made it. ``session_id`` (``data``, too) is its id."""

    type: Literal["pty_ready"]
    session_id: str
    data: str


class DataEvent(TerminalEventBase):
    """Bytes that it said, which may begin and end in the middle of a character."""

    type: Literal["pty_data"]
    data_b64: str


class TerminalNotice(Response):
    """``output_dropped``: the reader was slower than 1 MiB, or came later; so many bytes are missing here."""

    code: str
    message: str
    dropped_bytes: int


class TerminalNoticeEvent(TerminalEventBase):
    """Something that is no output."""

    type: Literal["notice"]
    data: TerminalNotice


class KeepaliveEvent(TerminalEventBase):
    """Nothing was said for a while."""

    type: Literal["keepalive"]
    data: None = None


class TerminalErrorEvent(TerminalEventBase):
    """What went wrong: the command could not be run, or the terminal was ended by the service. An exit follows."""

    type: Literal["pty_error"]
    message: str
    data: str


class TerminalExitEvent(TerminalEventBase):
    """The end, as bash tells it: the exit code, or 128 and the number of the signal; -1 if it is not known."""

    type: Literal["pty_exit"]
    data: int


TerminalEvent = Annotated[
    ReadyEvent | DataEvent | TerminalNoticeEvent | KeepaliveEvent | TerminalErrorEvent | TerminalExitEvent,
    Field(discriminator="type"),
]
