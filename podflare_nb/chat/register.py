"""Which turns are held in memory: those that run, and of the others as many as fit, for clients that come late."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import NotFoundError
from ..transcripts.turns import Turn as RecordedTurn
from .models import DIRECT
from .turn import Turn

HELD_BYTES = 64 * 1024 * 1024
"""Events of turns that are over, over all sandboxes; the oldest turns go first."""


class TurnRegister:
    """Turns by their id, and the running one of each sandbox. Only the service changes it."""

    def __init__(self, held_bytes: int = HELD_BYTES) -> None:
        self._most_bytes = held_bytes
        self._running: dict[str, Turn] = {}
        self._turns: dict[str, Turn] = {}
        self._over: list[Turn] = []

    def __repr__(self) -> str:
        return f"<TurnRegister {len(self._running)} running, {len(self._over)} over>"

    def add(self, turn: Turn) -> None:
        """A turn that starts."""
        self._turns[turn.id] = turn
        self._running[turn.sandbox_id] = turn

    def ended(self, turn: Turn) -> None:
        """A turn that is over: held on, as long as there is room."""
        self._running.pop(turn.sandbox_id, None)
        self._over.append(turn)
        held = sum(old.log.held_bytes for old in self._over)
        while held > self._most_bytes and len(self._over) > 1:
            oldest = self._over.pop(0)
            held -= oldest.log.held_bytes
            self._turns.pop(oldest.id, None)

    def running(self, sandbox_id: str) -> Turn | None:
        """The turn that runs in a sandbox."""
        return self._running.get(sandbox_id)

    def all_running(self) -> list[Turn]:
        """The running turns of all sandboxes."""
        return list(self._running.values())

    def of(self, sandbox_id: str) -> Iterable[Turn]:
        """The held turns of a sandbox, oldest first."""
        return [turn for turn in self._turns.values() if turn.sandbox_id == sandbox_id]

    def get(self, sandbox_id: str, turn_id: str) -> Turn:
        """One held turn. Raises NotFoundError, for a turn of another sandbox as well."""
        turn = self._turns.get(turn_id)
        if turn is None or turn.sandbox_id != sandbox_id:
            raise NotFoundError(
                f"No turn {turn_id} of this sandbox is held in memory; what an earlier one did is in the notebook.",
                turn_id=turn_id,
            )
        return turn

    def forget(self, sandbox_id: str) -> None:
        """Let go of the turns of a sandbox that are over."""
        self._over = [turn for turn in self._over if turn.sandbox_id != sandbox_id]
        for turn in list(self.of(sandbox_id)):
            if turn is not self._running.get(sandbox_id):
                del self._turns[turn.id]


def recorded_summary(recorded: RecordedTurn) -> dict[str, Any]:
    """A turn of the transcript, in the form of ``Turn.summary``."""
    model = recorded.model
    return {
        "turn_id": recorded.turn_id,
        "status": recorded.status,
        "message": recorded.message,
        "model": f"{model.provider}:{model.id}" if model else DIRECT,
        "started_at": recorded.started_at.isoformat(),
        "ended_at": recorded.ended_at.isoformat() if recorded.ended_at else None,
        "usage": recorded.usage,
        "error": recorded.error,
    }
