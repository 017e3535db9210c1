"""What clients get back, as types: one per JSON answer. Streams' events are in ``sandboxes`` and ``chat``."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from .states import EndReason, ErrorCode, SandboxState, TurnStatus


class Response(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ErrorBody(Response):
    """Every refusal. ``error``: a sentence that says what to do; ``code``: for programs."""

    error: str
    code: ErrorCode
    details: dict[str, Any]


class Accepted(Response):
    """What was asked for has begun; its effect is told elsewhere."""


class RecordedCell(Response):
    """``POST /v1/sandboxes/{id}/record``: the markdown cell that has the message."""

    cell_id: str


class SandboxLimits(Response):
    """What a sandbox may use; MiB, and cores (fractions allowed)."""

    memory_mib: int
    cpus: float
    pids: int
    disk_mib: int


class SandboxEnd(Response):
    """How and when a sandbox ended."""

    reason: EndReason
    message: str
    at: datetime


class ForkedFrom(Response):
    """Where a branch left its parent. ``turn_id``: the last turn that both have."""

    sandbox_id: str
    turn_id: str | None
    at: datetime


class EgressRules(Response):
    """What a sandbox may reach: names, ``*.`` names, addresses and ranges, each with ``:port`` or without."""

    allow: list[str]


class SandboxInfo(Response):
    """A sandbox. ``expires_at``: the end of its lifetime; ``title``: its first chat message, in short.

    ``checkpoints``: how many turns it can be rewound by; ``merged_into``: the sandbox that took its state over.
    """

    id: str
    state: SandboxState
    template: str
    created_at: datetime
    expires_at: datetime
    last_active_at: datetime
    timeout_seconds: int
    idle_timeout_seconds: int
    labels: dict[str, str]
    limits: SandboxLimits
    kernel_id: str | None
    egress: bool | EgressRules = False
    end: SandboxEnd | None = None
    title: str | None = None
    forked_from: ForkedFrom | None = None
    merged_into: str | None = None
    checkpoints: int = 0


class SandboxPage(Response):
    """``GET /v1/sandboxes``: newest first; ``next_cursor`` is null on the last page."""

    sandboxes: list[SandboxInfo]
    next_cursor: str | None


class NetworkConnection(Response):
    """A connection that a sandbox made, or was refused. Bytes."""

    at: datetime
    verdict: Literal["allowed", "refused"]
    protocol: str
    host: str
    port: int | None
    sent: int
    received: int
    reason: str | None


class NetworkInfo(Response):
    """``GET /v1/sandboxes/{id}/network``: of the sandbox and all branches of its family.

    ``sent_bytes`` and ``received_bytes`` since it began; ``untold``: connections that came too fast; counts
    and ``connections`` (the last 1000, the newest last) as far as this sandbox has lived.
    """

    egress: bool | EgressRules
    sent_bytes: int | None
    received_bytes: int | None
    allowed: int
    refused: int
    untold: int
    connections: list[NetworkConnection]


class ForkResult(Response):
    """``POST /v1/sandboxes/{id}/fork``. A sentence for each thing that did not come along, and for each child that
    could not be made."""

    children: list[str]
    warnings: list[str]
    failures: list[str]


class FileSize(Response):
    """A file that only one of the two has. Bytes."""

    path: str
    size: int


class FileChange(Response):
    """A file that differs. Bytes, here and in the other."""

    path: str
    size: int
    other_size: int


class FileDifference(Response):
    """Files of the workspace; ``truncated``: there are more than are listed."""

    added: list[FileSize]
    removed: list[FileSize]
    modified: list[FileChange]
    truncated: bool


class VariableState(Response):
    """What is told of a variable, never its value. ``shape``: of arrays and tables; of collections, their length."""

    type: str
    shape: list[int] | None
    repr: str


class NamedVariable(VariableState):
    """A variable that only one of the two has."""

    name: str


class VariableChange(Response):
    """A variable that differs."""

    name: str
    before: VariableState
    after: VariableState


class VariableDifference(Response):
    """Variables; ``unknown``: names in both that could not be compared; ``truncated``: there are more."""

    added: list[NamedVariable]
    removed: list[NamedVariable]
    changed: list[VariableChange]
    unknown: list[str]
    truncated: bool


class CellCounts(Response):
    """How many cells."""

    added: int
    removed: int
    modified: int


class CellDifference(Response):
    """Cells of the notebook. ``diff``: nbdime's operations; null, with a ``message``, where they are too many."""

    diff: list[dict[str, Any]] | None
    summary: CellCounts
    message: str | None = None


class DiffResult(Response):
    """``POST /v1/sandboxes/{id}/diff``: what the other has more is ``added``."""

    files: FileDifference
    variables: VariableDifference
    cells: CellDifference


class RewindResult(Response):
    """``POST /v1/sandboxes/{id}/rewind``. ``branch`` keeps the way not taken."""

    sandbox_id: str
    turn_id: str
    branch: str


class BranchInfo(Response):
    """One sandbox of a family. ``n_cells``: of its notebook, while it lives."""

    id: str
    forked_from: ForkedFrom | None
    state: SandboxState
    created_at: datetime
    ended_at: datetime | None
    end_reason: EndReason | None
    merged_into: str | None
    title: str | None
    n_cells: int | None


class CheckpointInfo(Response):
    """A turn that can be rewound to. ``private_bytes``: memory that its state alone holds; null: unknown."""

    turn_id: str
    at: datetime
    private_bytes: int | None


class BranchList(Response):
    """``GET /v1/sandboxes/{id}/branches``: the whole family, oldest first; the checkpoints of this sandbox."""

    branches: list[BranchInfo]
    checkpoints: list[CheckpointInfo]


class TemplateInfo(Response):
    """One template."""

    name: str
    display_name: str
    description: str
    language: str
    limits: SandboxLimits
    timeout_seconds: int
    idle_timeout_seconds: int
    default: bool
    state: Literal["ready", "loading", "failed"]


class TemplateList(Response):
    """``GET /v1/templates``."""

    templates: list[TemplateInfo]


class LayerInfo(Response):
    """One layer of the jail on this machine."""

    name: str
    available: bool
    detail: str


class ModelInfo(Response):
    """A language model that a turn may name."""

    name: str
    label: str


class ModelList(Response):
    """The models of this service; ``default`` serves when a turn names none."""

    default: str
    available: list[ModelInfo]


class RequestLimits(Response):
    """What a request may ask for at most."""

    max_code_bytes: int
    max_seconds: int
    max_sandboxes: int
    max_memory_mib: int | None


class NetworkFeatures(Response):
    """What sandboxes may reach here. ``default``: those that ask for nothing; ``most``: what the operator lets any of
    them have; ``internet``: whether ``egress`` may be true, else ``reason`` is a sentence why not; ``private``: ranges
    that are not public and that rules may name."""

    default: bool | EgressRules
    most: bool | EgressRules
    internet: bool
    reason: str | None
    private: list[str]


class Features(Response):
    """What this service can do beyond the least. ``egress``: whether sandboxes can have the public internet."""

    fork: bool = False
    egress: bool = False
    pty: bool = False


class Capabilities(Response):
    """``GET /v1/capabilities``."""

    version: str
    isolation: str
    layers: list[LayerInfo]
    templates: list[str]
    default_template: str
    models: ModelList
    limits: RequestLimits
    features: Features
    network: NetworkFeatures


class FileEntry(Response):
    """One entry of a directory; ``size`` in bytes."""

    name: str
    type: Literal["file", "directory", "symlink", "other"]
    size: int
    modified: datetime


class DirectoryListing(Response):
    """``GET`` of a directory."""

    path: str
    entries: list[FileEntry]


class FileWritten(Response):
    """``PUT`` of a file."""

    path: str
    size: int


class TurnInfo(Response):
    """One turn of the chat."""

    turn_id: str
    status: TurnStatus
    message: str
    model: str | None
    started_at: datetime
    ended_at: datetime | None
    usage: dict[str, int] | None
    error: str | None = None


class TurnList(Response):
    """``GET /v1/sandboxes/{id}/chat``, oldest first."""

    turns: list[TurnInfo]
