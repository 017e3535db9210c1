"""What the service tells of itself and of sandboxes, as plain records.

Each reads the JSON that it knows and keeps the whole of it in ``raw``, so that a newer service breaks no
older client.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .errors import UnexpectedAnswerError
from .family import ForkedFrom
from .networks import Egress, egress_of

if TYPE_CHECKING:
    from collections.abc import Mapping


def created_id(answer: object) -> str:
    """Read the id of a sandbox that was made. Raises UnexpectedAnswerError where there is none."""
    found = answer.get("id") if isinstance(answer, dict) else None
    if not isinstance(found, str):
        raise UnexpectedAnswerError(
            "What answers at the host says nothing of the sandbox that it was asked for. Is the host right? It usually "
            "ends with /podflare."
        )
    return found


@dataclass(frozen=True, slots=True)
class SandboxInfo:
    """The state of a sandbox. Times are ISO 8601 in UTC, durations are seconds."""

    id: str
    state: str
    """ready, busy, closing or closed."""
    template: str | None
    created_at: str | None
    expires_at: str | None
    last_active_at: str | None
    timeout_seconds: float | None
    idle_timeout_seconds: float | None
    labels: dict[str, str]
    limits: dict[str, Any]
    """memory_mib, cpus, pids, disk_mib."""
    egress: Egress
    """What it may reach."""
    kernel_id: str | None
    title: str | None
    """The first message of its chat."""
    end_reason: str | None
    """Why it is over: closed, idle_timeout, lifetime, merged, oom, crashed or shutdown; None while it lives."""
    end_message: str | None
    forked_from: ForkedFrom | None
    """None for one that was not forked."""
    merged_into: str | None
    """The sandbox that took its state over."""
    checkpoints: int
    """After how many of the last turns its state is kept."""
    raw: dict[str, Any] = field(repr=False)

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> SandboxInfo:
        """Read what the service answers about a sandbox."""
        end = answer.get("end") or {}
        return cls(
            id=str(answer["id"]),
            state=str(answer.get("state")),
            template=answer.get("template"),
            created_at=answer.get("created_at"),
            expires_at=answer.get("expires_at"),
            last_active_at=answer.get("last_active_at"),
            timeout_seconds=answer.get("timeout_seconds"),
            idle_timeout_seconds=answer.get("idle_timeout_seconds"),
            labels=dict(answer.get("labels") or {}),
            limits=dict(answer.get("limits") or {}),
            egress=egress_of(answer),
            kernel_id=answer.get("kernel_id"),
            title=answer.get("title"),
            end_reason=end.get("reason"),
            end_message=end.get("message"),
            forked_from=ForkedFrom.from_json(answer.get("forked_from")),
            merged_into=answer.get("merged_into"),
            checkpoints=int(answer.get("checkpoints") or 0),
            raw=dict(answer),
        )


@dataclass(frozen=True, slots=True)
class Template:
    """What a sandbox can be made from."""

    name: str
    display_name: str
    description: str
    language: str
    is_default: bool
    state: str
    """ready, loading or failed."""
    limits: dict[str, Any]
    raw: dict[str, Any] = field(repr=False)

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> Template:
        """Read one row of the list of templates."""
        return cls(
            name=str(answer["name"]),
            display_name=str(answer.get("display_name") or answer["name"]),
            description=str(answer.get("description") or ""),
            language=str(answer.get("language") or "python"),
            is_default=bool(answer.get("default")),
            state=str(answer.get("state") or "ready"),
            limits=dict(answer.get("limits") or {}),
            raw=dict(answer),
        )


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the jail on the service's machine."""

    name: str
    available: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the service can do, and how it isolates."""

    version: str
    isolation: str
    layers: tuple[Layer, ...]
    templates: tuple[str, ...]
    default_template: str | None
    models: tuple[str, ...]
    default_model: str | None
    limits: dict[str, Any]
    features: dict[str, bool]
    raw: dict[str, Any] = field(repr=False)

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> Capabilities:
        """Read what the service answers about itself."""
        models = answer.get("models") or {}
        return cls(
            version=str(answer.get("version")),
            isolation=str(answer.get("isolation")),
            layers=tuple(
                Layer(str(one.get("name")), bool(one.get("available")), str(one.get("detail") or ""))
                for one in answer.get("layers") or ()
            ),
            templates=tuple(answer.get("templates") or ()),
            default_template=answer.get("default_template"),
            models=tuple(str(one.get("name")) for one in models.get("available") or ()),
            default_model=models.get("default"),
            limits=dict(answer.get("limits") or {}),
            features=dict(answer.get("features") or {}),
            raw=dict(answer),
        )


@dataclass(frozen=True, slots=True)
class FileInfo:
    """One file or directory of a workspace."""

    path: str
    type: str
    """file, directory, symlink or other."""
    size: int
    """Bytes; 0 for a directory."""
    modified: str | None = None
    """ISO 8601 in UTC."""

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rstrip("/").rpartition("/")[2]

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return self.type == "directory"
