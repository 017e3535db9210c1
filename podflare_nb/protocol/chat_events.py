"""The events of a turn as types: one JSON object a line, or the data of a server-sent event.

What the OpenAPI document tells, and what tests hold the stream against; ``chat.writer`` makes the events
themselves, as plain JSON. Clients skip types that they do not know.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .exec_events import StreamEvent
from .notebook import LiveOutput
from .responses import Response
from .states import CellRole, ExecutionStatus, Language, TurnStatus


class BranchName(Response):
    """A branch of the turn: the short name that the agent gave, and its sandbox."""

    name: str
    sandbox_id: str


class TurnStart(Response):
    """A turn begins. ``model``: ``provider:name``, or ``direct``."""

    turn_id: str
    message: str
    model: str


class CellStart(Response):
    """A cell begins; ``language`` and ``tool_call_id`` of code, ``branch`` where it runs in one."""

    cell_id: str
    cell_type: Literal["code", "markdown"]
    role: CellRole
    source: str
    language: Language | None = None
    tool_call_id: str | None = None
    branch: BranchName | None = None


class TextDelta(Response):
    """More text of a markdown cell."""

    cell_id: str
    text: str


class CellOutput(Response):
    """An output of a code cell, as in nbformat."""

    cell_id: str
    output: LiveOutput


class Truncated(Response):
    """Output over the limit was dropped."""

    produced_bytes: int
    kept_bytes: int


class CellEnd(Response):
    """A cell has ended; what follows ``status`` is of code."""

    cell_id: str
    status: ExecutionStatus
    execution_count: int | None = None
    exit_code: int | None = None
    message: str | None = None
    state_preserved: bool = True
    truncated: Truncated | None = None


class ApprovalRequest(Response):
    """A run waits for a yes (``POST .../approve``)."""

    tool_call_id: str
    source: str
    language: Language
    branch: BranchName | None = None


class ApprovalEnd(Response):
    """Somebody said yes or no."""

    tool_call_id: str
    approved: bool
    by: str


class BranchFork(Response):
    """The agent forked the sandbox. ``cell_id``: the line of the notebook that says so."""

    sandbox_id: str
    branches: list[BranchName]
    warnings: list[str]
    failures: list[str]
    cell_id: str


class BranchCompare(Response):
    """The agent compared two branches."""

    branches: list[BranchName]
    summary: str
    cell_id: str


class BranchMerge(Response):
    """The agent merged a branch; ``open`` are those that are left."""

    name: str
    sandbox_id: str
    into: str
    open: list[BranchName]
    cell_id: str


class BranchClose(Response):
    """Branches that were not merged are closed."""

    branches: list[BranchName]
    cell_id: str


class Usage(Response):
    """What the model has used so far in this turn."""

    input_tokens: int
    output_tokens: int
    requests: int


class TurnNotice(Response):
    """Something that is no output: ``kernel_restarted``, or ``events_dropped`` with their first and last seq."""

    code: str
    message: str
    cell_id: str | None = None
    first: int | None = None
    last: int | None = None


class TurnError(Response):
    """Why the turn failed."""

    code: str
    message: str


class TurnEnd(Response):
    """The turn is over. ``limit``: which limit ended it."""

    turn_id: str
    status: TurnStatus
    usage: Usage | None
    message: str | None = None
    limit: Literal["steps", "tokens", "seconds"] | None = None


class TurnStartEvent(StreamEvent):
    """``turn-start``."""

    type: Literal["turn-start"]
    data: TurnStart


class CellStartEvent(StreamEvent):
    """``cell-start``."""

    type: Literal["cell-start"]
    data: CellStart


class TextDeltaEvent(StreamEvent):
    """``text-delta``."""

    type: Literal["text-delta"]
    data: TextDelta


class CellOutputEvent(StreamEvent):
    """``cell-output``."""

    type: Literal["cell-output"]
    data: CellOutput


class CellEndEvent(StreamEvent):
    """``cell-end``."""

    type: Literal["cell-end"]
    data: CellEnd


class ApprovalRequestEvent(StreamEvent):
    """``approval-request``."""

    type: Literal["approval-request"]
    data: ApprovalRequest


class ApprovalEndEvent(StreamEvent):
    """``approval-end``."""

    type: Literal["approval-end"]
    data: ApprovalEnd


class BranchForkEvent(StreamEvent):
    """``branch-fork``."""

    type: Literal["branch-fork"]
    data: BranchFork


class BranchCompareEvent(StreamEvent):
    """``branch-compare``."""

    type: Literal["branch-compare"]
    data: BranchCompare


class BranchMergeEvent(StreamEvent):
    """``branch-merge``."""

    type: Literal["branch-merge"]
    data: BranchMerge


class BranchCloseEvent(StreamEvent):
    """``branch-close``."""

    type: Literal["branch-close"]
    data: BranchClose


class UsageEvent(StreamEvent):
    """``usage``."""

    type: Literal["usage"]
    data: Usage


class TurnNoticeEvent(StreamEvent):
    """``notice``."""

    type: Literal["notice"]
    data: TurnNotice


class TurnErrorEvent(StreamEvent):
    """``turn-error``."""

    type: Literal["turn-error"]
    data: TurnError


class TurnEndEvent(StreamEvent):
    """``turn-end``."""

    type: Literal["turn-end"]
    data: TurnEnd


ChatEvent = Annotated[
    TurnStartEvent
    | CellStartEvent
    | TextDeltaEvent
    | CellOutputEvent
    | CellEndEvent
    | ApprovalRequestEvent
    | ApprovalEndEvent
    | BranchForkEvent
    | BranchCompareEvent
    | BranchMergeEvent
    | BranchCloseEvent
    | UsageEvent
    | TurnNoticeEvent
    | TurnErrorEvent
    | TurnEndEvent,
    Field(discriminator="type"),
]
