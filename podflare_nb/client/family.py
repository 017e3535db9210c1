"""What the service tells of a sandbox's family, as plain records: its branches, and the turns to go back to.

Each reads the JSON that it knows and keeps the whole of it in ``raw``. Not the branches themselves: ``connect``
takes one up by its id.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class ForkedFrom:
    """Where a branch left its parent."""

    sandbox_id: str
    turn_id: str | None
    """The last turn that both have; None where there was none."""
    at: str | None
    """ISO 8601 in UTC."""

    @classmethod
    def from_json(cls, answer: Mapping[str, Any] | None) -> ForkedFrom | None:
        """Read where a branch came from; None for a sandbox that is nobody's branch."""
        if not answer or not answer.get("sandbox_id"):
            return None
        return cls(str(answer["sandbox_id"]), answer.get("turn_id"), answer.get("at"))


@dataclass(frozen=True, slots=True)
class Branch:
    """One member of a family, live or ended."""

    id: str
    state: str
    """ready, busy, closing or closed."""
    forked_from: ForkedFrom | None
    """None for the family's first sandbox."""
    created_at: str | None
    ended_at: str | None
    end_reason: str | None
    """Why it is over: closed, merged, idle_timeout, ...; None while it lives."""
    merged_into: str | None
    """The sandbox that took its state over."""
    title: str | None
    """The first message of its chat."""
    cells: int | None
    """Of its notebook, while it lives."""
    raw: dict[str, Any] = field(repr=False)

    @property
    def is_live(self) -> bool:
        """Whether code can run in it; the notebook of any other stays readable."""
        return self.state != "closed"

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> Branch:
        """Read one row of the list of branches."""
        return cls(
            id=str(answer["id"]),
            state=str(answer.get("state")),
            forked_from=ForkedFrom.from_json(answer.get("forked_from")),
            created_at=answer.get("created_at"),
            ended_at=answer.get("ended_at"),
            end_reason=answer.get("end_reason"),
            merged_into=answer.get("merged_into"),
            title=answer.get("title"),
            cells=answer.get("n_cells"),
            raw=dict(answer),
        )


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state after a turn, kept asleep: ``rewind`` goes back to it."""

    turn_id: str
    at: str | None
    """ISO 8601 in UTC."""
    private_bytes: int | None
    """Memory that it alone holds."""
    raw: dict[str, Any] = field(repr=False)

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> Checkpoint:
        """Read one row of the list of checkpoints."""
        return cls(str(answer["turn_id"]), answer.get("at"), answer.get("private_bytes"), raw=dict(answer))
