"""What clients get back, as types: one per JSON answer. Streams' events are in ``sandboxes`` and ``chat``."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from .states import EndReason, SandboxState, TurnStatus


class Response(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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


class SandboxInfo(Response):
    """A sandbox. ``expires_at``: the end of its lifetime; ``title``: its first chat message, in short."""

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
    egress: bool = False
    end: SandboxEnd | None = None
    title: str | None = None


class SandboxPage(Response):
    """``GET /v1/sandboxes``: newest first; ``next_cursor`` is null on the last page."""

    sandboxes: list[SandboxInfo]
    next_cursor: str | None


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


class Features(Response):
    """What this service can do beyond the least."""

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
