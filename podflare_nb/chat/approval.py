"""A run that waits for a person's yes: who is waiting, who said what.

Knows nothing of events or cells; ``writer`` tells both.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from ..errors import ConflictError, NotFoundError


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person said about one run. ``by`` is the verified principal."""

    approved: bool
    by: str


class Approvals:
    """The runs of one turn that wait; each is decided once."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[Decision]] = {}
        self._decided: set[str] = set()

    def __repr__(self) -> str:
        return f"<Approvals waiting={sorted(self._waiting)}>"

    def open(self, tool_call_id: str) -> asyncio.Future[Decision]:
        """Begin to wait. Whoever asks must tell the client after this, or an answer could come too early."""
        future: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._waiting[tool_call_id] = future
        self._decided.discard(tool_call_id)
        return future

    def close(self, tool_call_id: str) -> None:
        """Nobody waits any more: decided, or the turn has ended."""
        self._waiting.pop(tool_call_id, None)

    def decide(self, tool_call_id: str, decision: Decision) -> None:
        """A person's answer. Raises ConflictError for a second answer, NotFoundError where nothing waits."""
        future = self._waiting.get(tool_call_id)
        if tool_call_id in self._decided or (future is not None and future.done()):
            raise ConflictError(f"The run {tool_call_id} has been decided already.", tool_call_id=tool_call_id)
        if future is None:
            raise NotFoundError(
                f"No run of this turn waits for an approval under the id {tool_call_id}.",
                tool_call_id=tool_call_id,
            )
        self._decided.add(tool_call_id)
        future.set_result(decision)
