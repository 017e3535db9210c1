"""Who did it: the provenance that travels with an execution into the transcript."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from .states import CellRole


class Model(BaseModel):
    """A language model, by provider and id (``anthropic``, ``claude-...``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    provider: str
    id: str


def model_of(name: str | None) -> Model | None:
    """Read ``provider:name``, as requests have it."""
    if name is None:
        return None
    provider, _, model_id = name.partition(":")
    return Model(provider=provider, id=model_id)


class Provenance(BaseModel):
    """Provenance of one execution. ``principal`` is verified (a tenant or a user); the rest is advisory."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    role: CellRole = "tool"
    principal: str | None = None
    operator: str | None = None
    turn_id: str | None = None
    tool_call_id: str | None = None
    model: Model | None = None
    approved_by: str | None = None
