"""One turn: a message to the agent, and all that it does until it has answered.

A turn belongs to the server: it goes on when its client goes away, and only its end, its limits or ``cancel``
stop it. This is the record and its events; ``service`` runs it, ``writer`` fills it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from ..protocol.provenance import Model
from ..protocol.states import TurnStatus
from .approval import Approvals
from .event_log import EventLog
from .events import ChatEvent
from .limits import Approval

LimitName = Literal["steps", "tokens", "seconds"]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a turn ended. ``message`` is a sentence for people, ``code`` the error's for programs."""

    status: TurnStatus
    message: str | None = None
    code: str | None = None
    limit: LimitName | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What the model used, over the whole turn."""

    input_tokens: int = 0
    output_tokens: int = 0
    requests: int = 0

    def as_dict(self) -> dict[str, int]:
        """The form of events and of the notebook."""
        return {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "requests": self.requests,
        }


@dataclass(slots=True)
class Turn:
    """``model`` is ``provider:id`` or ``direct``; ``deadline`` is the event loop's time."""

    id: str
    sandbox_id: str
    message: str
    model: str
    principal: str
    operator: str | None
    approve: Approval
    started_at: datetime
    deadline: float
    log: EventLog
    approvals: Approvals = field(default_factory=Approvals)
    ending: Ending | None = None
    ended_at: datetime | None = None
    usage: Usage = field(default_factory=Usage)
    begun: bool = False
    cancelling: bool = False
    cancelled_by: str | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def __repr__(self) -> str:
        return f"<Turn {self.id} of {self.sandbox_id}: {self.status}, {self.log!r}>"

    @property
    def status(self) -> TurnStatus:
        """``running`` until it has ended."""
        return self.ending.status if self.ending else "running"

    @property
    def model_record(self) -> Model | None:
        """The model as provenance keeps it; None for the direct agent."""
        provider, _, model_id = self.model.partition(":")
        return Model(provider=provider, id=model_id or provider) if self.model != "direct" else None

    def events(self, after: int = -1) -> AsyncIterator[ChatEvent]:
        """Events with a seq above ``after``, then live ones until the turn has ended.

        Any number of readers may follow, at their own pace. Raises InvalidArgumentError at once for an ``after``
        that the turn has not reached.
        """
        return self.log.follow(after)

    async def wait(self) -> Ending:
        """Wait for the end."""
        await self.over.wait()
        if self.ending is None:
            raise RuntimeError(f"{self.id} is over without an ending")
        return self.ending

    def summary(self) -> dict[str, Any]:
        """The turn as the API lists it."""
        return {
            "turn_id": self.id,
            "status": self.status,
            "message": self.message,
            "model": self.model,
            "started_at": self.started_at.isoformat(),
            "ended_at": self.ended_at.isoformat() if self.ended_at else None,
            "usage": self.usage.as_dict() if self.usage.requests else None,
            "error": self.ending.message if self.ending else None,
        }
