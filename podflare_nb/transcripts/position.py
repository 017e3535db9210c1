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
        self._superseded: list[int | None] = []  # of each cell, how many there were when a merge superseded it
        self._turns: dict[str, int] = {}
        self._rewinds: list[tuple[int, int]] = []  # where each is recorded, and how many cells it left

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
            self._append([name if isinstance(name, str) else None])
        elif record["t"] == "merge":
            self._supersede(record.get("superseded"), record.get("live") or ())
        elif record["t"] == "turn-end":
            self._append([None] * (record.get("status") in TURN_NOTICES))
            turn_id = str(record.get("turn_id"))
            self._turns.pop(turn_id, None)  # one that a caller takes up again counts from where it ended last
            self._turns[turn_id] = len(self._cells)

    def copy(self) -> Position:
        """Make another that goes its own way."""
        twin = Position()
        twin._turns, twin._cells, twin._rewinds = self.turns.copy(), self._cells.copy(), self._rewinds.copy()
        twin._superseded = self._superseded.copy()
        return twin

    def rewind(self, turn_id: str, at: int) -> None:
        """Go back to the end of a turn; ``at``: where that is recorded."""
        names = list(self.turns)
        left = self._turns[turn_id]
        del self._cells[left:]
        marks = self._superseded[:left]
        self._superseded = [mark if mark is not None and mark < left else None for mark in marks]
        self._rewinds.append((at, left))
        self._turns = {name: self._turns[name] for name in names[: names.index(turn_id) + 1]}

    def went_back(self, since: int, cells: int) -> bool:
        """Whether a rewind that was recorded since left no more than so many cells."""
        self._read()
        return any(at >= since and left <= cells for at, left in self._rewinds)

    def first_after(self, common: int) -> str | None:
        """What the journal calls the first cell after ``common`` of them that is no notice."""
        return next((name for name in self._cells[common:] if name is not None), None)

    def live_in(self, winner: Position, common: int) -> list[str]:
        """What the journal calls those of the ``common`` cells that were superseded here, and not in the winner."""
        rows = zip(self._cells[:common], self._superseded, winner._superseded, strict=False)
        return [name for name, mine, its in rows if name is not None and mine is not None and its is None]

    def merge(self, winner: Position, common: int, *, again: bool) -> None:
        """Take in what the winner has after the ``common`` cells; ``again``: turns that are here may be among it."""
        shift = self.cells - common
        for name, cells in winner.turns.items():
            if name not in self._turns or (again and cells > common):
                self._turns.pop(name, None)
                self._turns[name] = cells + shift
        count = len(self._cells)
        self._superseded[:common] = winner._superseded[:common]
        self._superseded[common:] = [count if merged is None else merged for merged in self._superseded[common:]]
        self._cells += winner._cells[common:]
        self._superseded += [None if merged is None else merged + shift for merged in winner._superseded[common:]]

    def _append(self, names: list[str | None]) -> None:
        self._cells += names
        self._superseded += [None] * len(names)

    def _supersede(self, first: object, live: Sequence[object]) -> None:
        for number, name in enumerate(self._cells):
            if name is not None and name in live:
                self._superseded[number] = None
        begin = max((number for number, name in enumerate(self._cells) if name == first is not None), default=None)
        if begin is not None:
            count = len(self._cells)
            self._superseded[begin:] = [count if merged is None else merged for merged in self._superseded[begin:]]

    def _read(self) -> None:
        if self._unread is None:
            return
        directory, self._unread = self._unread, None
        with Reader(directory) as journal:
            for part in way_taken(journal)[0]:
                for record, begin, _ in journal.records(*part):
                    if record is not None and record["t"] == "rewind":
                        self._rewinds.append((begin, len(self._cells)))
                    elif record is not None:
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
