"""How far a transcript is, known without folding it: its cells and its ended turns; and what it shares with others.

``transcript`` stands above; below is ``rewinding``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .notebook import TURN_NOTICES
from .rewinding import way_taken
from .segments import Reader

_CELLS = {"start", "markdown", "turn", "lost", "torn"}


class Ancestor(NamedTuple):
    """A sandbox whose records a journal holds, from ``begin`` on; ``cells`` were there before."""

    sandbox_id: str
    begin: int
    cells: int


class Position:
    """Cells so far, and after how many of them each turn ended, oldest first.

    That of a journal from disk is read when somebody asks, which takes as long as reading the journal.
    """

    def __init__(self, unread: Path | None = None) -> None:
        self._unread = unread
        self._cells: list[str | None] = []  # by what the journal calls each; None for a notice
        self._turns: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Position {len(self._cells)} cells, {len(self._turns)} turns{' unread' if self._unread else ''}>"

    @property
    def cells(self) -> int:
        """How many cells there are."""
        self._read()
        return len(self._cells)

    @property
    def turns(self) -> dict[str, int]:
        """How many cells there were when each turn ended."""
        self._read()
        return self._turns

    def record(self, record: Mapping[str, Any]) -> None:
        """Take note of a record."""
        if self._unread is not None:
            return
        if record["t"] in _CELLS:
            name = record.get("cell")
            self._cells.append(name if isinstance(name, str) else None)
        elif record["t"] == "turn-end":
            self._cells += [None] * (record.get("status") in TURN_NOTICES)
            turn_id = str(record.get("turn_id"))
            self._turns.pop(turn_id, None)  # one that a caller takes up again counts from where it ended last
            self._turns[turn_id] = len(self._cells)

    def copy(self) -> Position:
        """Make another that goes its own way."""
        twin = Position()
        twin._turns, twin._cells = self.turns.copy(), self._cells.copy()
        return twin

    def rewind(self, turn_id: str) -> None:
        """Go back to the end of a turn."""
        names = list(self.turns)
        del self._cells[self._turns[turn_id] :]
        self._turns = {name: self._turns[name] for name in names[: names.index(turn_id) + 1]}

    def common(self, other: Position, most: int) -> int:
        """How many of the first cells, of ``most`` that were once the same, neither has taken back."""
        pairs = zip(range(min(most, self.cells, other.cells)), self._cells, other._cells, strict=False)
        return next((number for number, mine, its in pairs if mine != its), min(most, self.cells, other.cells))

    def first_after(self, common: int) -> str | None:
        """What the journal calls the first cell after ``common`` of them that is no notice."""
        return next((name for name in self._cells[common:] if name is not None), None)

    def merge(self, winner: Position, common: int) -> None:
        """Take in what the winner has after the ``common`` cells."""
        shift = self.cells - common
        self._turns |= {name: cells + shift for name, cells in winner.turns.items() if name not in self._turns}
        self._cells += winner._cells[common:]

    def _read(self) -> None:
        if self._unread is None:
            return
        directory, self._unread = self._unread, None
        with Reader(directory) as journal:
            for part in way_taken(journal)[0]:
                for record, _, _ in journal.records(*part):
                    if record is not None:
                        self.record(record)


def parting(one: Sequence[Ancestor], other: Sequence[Ancestor]) -> tuple[Ancestor, list[str]]:
    """Find where ``one`` parts from ``other``: from there on its records are its own, and of whom they are.

    The journals of a family are the same up to where they part, byte by byte.
    """
    shared = 0
    while shared < min(len(one), len(other)) and one[shared] == other[shared]:
        shared += 1
    nexts = [line[shared] for line in (one, other) if shared < len(line)]
    first = min(nexts, key=lambda ancestor: ancestor.begin)
    own = [ancestor.sandbox_id for ancestor in one[shared:]]
    if shared and (shared == len(one) or one[shared].begin > first.begin):
        own.append(one[shared - 1].sandbox_id)
    return first, own
