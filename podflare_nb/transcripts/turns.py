"""A turn as the transcript keeps it: one message to the agent, and how what followed ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..protocol.provenance import Model
from ..protocol.states import TurnStatus


@dataclass(frozen=True, slots=True)
class Turn:
    """``usage`` is ``{"input_tokens", "output_tokens", "requests"}`` as far as the agent told.

    ``branch`` is the sandbox in which it was, if that was merged into the one whose transcript this is of.
    """

    turn_id: str
    status: TurnStatus
    message: str
    model: Model | None
    started_at: datetime
    ended_at: datetime | None = None
    usage: dict[str, Any] | None = None
    error: str | None = None
    branch: str | None = None
