"""Where a branch comes from: its parent, and the moment in which it left it. What the notebooks know of branches.

``branches`` makes both; ``sandbox`` carries its own origin, the book and the transcript keep it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Origin:
    """``turn_id`` and ``cells``: the last turn that parent and branch have in common, and how many cells.

    ``first``: the sandbox that the whole family began with. Branches of one fork share ``at``.
    """

    parent_id: str
    first: str
    turn_id: str | None
    cells: int
    at: datetime


class Notebooks(Protocol):
    """The notebooks of live sandboxes, by id, as branching changes them. A branch's own is made with the branch."""

    def position(self, sandbox_id: str) -> tuple[str | None, int]:
        """The last turn that has ended, and the number of cells."""

    def check_no_turn(self, sandbox_id: str) -> None:
        """Raise ConflictError while a turn of the chat runs there."""

    def merge(self, parent_id: str, winner_id: str, losers: Sequence[str]) -> None:
        """The winner's cells since the fork become the parent's; ``losers`` are named beside them."""

    def rewind(self, sandbox_id: str, turn_id: str, branch_id: str) -> None:
        """Take out what came after the turn; ``branch_id`` has it all."""

    async def nodes(self, *sandbox_ids: str) -> list[dict[str, Any]]:
        """Their outlines: notebooks as nbformat JSON, bounded."""
