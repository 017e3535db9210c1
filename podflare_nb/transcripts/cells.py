"""Cells, folded from records to an index: of each cell, where in the journal its records stand, and no more.

Pure and incremental: ``Cells`` takes one record at a time, with its place. What a cell holds (source, text,
outputs of any size) stays in the journal, from which ``views`` reads it back; so a notebook in memory is some
hundred bytes for each cell, whatever was shown. ``version`` of a cell tells whether it changed: it is the
place of the last record that did it. Below are ``endings`` and ``outputs``; ``notebook`` stands above.
"""

from __future__ import annotations

import copy
import hashlib
import re
from array import array
from collections.abc import Iterable, Mapping
from typing import Any

from .endings import ending_outputs
from .outputs import clean_json, clean_output, clean_text

Record = Mapping[str, Any]
Place = tuple[int, int]
"""Where a record stands in the journal: its begin and its end."""

NOT_CELL_ID = re.compile(r"[^a-zA-Z0-9_-]")
CELL_ID_LENGTH = 64

NEAR = 1024
"""Records of a cell that are this near to each other (bytes) are one run; what stands between is read over."""

MOST_DISPLAYS = 50_000
"""Displays with an id whose updates are followed; a kernel that makes more of them has some not updated."""


class Cell:
    """What is known of a cell without reading it. Changed only through ``Cells``."""

    __slots__ = (
        "branch",
        "extras",
        "id",
        "is_code",
        "owner",
        "recorded_id",
        "running",
        "runs",
        "seq",
        "superseded_by",
        "updates",
        "version",
    )

    def __init__(self, cell_id: str, recorded_id: str, seq: int, owner: object, *, is_code: bool) -> None:
        self.id = cell_id
        self.recorded_id = recorded_id
        self.seq = seq
        self.owner = owner
        self.is_code = is_code
        self.running = is_code
        self.version = 0
        self.branch: str | None = None
        """The sandbox in which it ran, if that was merged into this one."""
        self.superseded_by: str | None = None
        """The sandbox that was merged since, whose state knows nothing of this run."""
        self.runs: array[int] = array("Q")
        """Begin and end of each stretch of the journal that holds its records (and maybe others')."""
        self.extras: tuple[tuple[int, Record], ...] = ()
        """Records that the journal does not have (an end that the service's end means), and where they belong."""
        self.updates: dict[str, Place] | None = None
        """The last update of each of its displays that had one, by the display's key."""

    def __repr__(self) -> str:
        return f"<Cell {self.id} in {len(self.runs) // 2} runs>"

    def owned_by(self, owner: object) -> Cell:
        """Give a copy that its owner may change; the old one stays as it is, for whoever holds it."""
        twin = copy.copy(self)
        twin.owner, twin.runs = owner, self.runs[:]
        twin.updates = None if self.updates is None else dict(self.updates)
        return twin

    def extend(self, place: Place) -> None:
        """Add the place of a record of its own."""
        begin, end = place
        if self.runs and begin - self.runs[-1] <= NEAR:
            self.runs[-1] = end
        else:
            self.runs.extend(place)


class Displays:
    """Which cells (by number) showed a display of an id, up to MOST_DISPLAYS; ``untracked`` counts the rest."""

    def __init__(self) -> None:
        self.untracked = 0
        self._tracked = 0
        self._cells: dict[str, dict[int, None]] = {}

    def clone(self) -> Displays:
        """Make another that goes its own way."""
        twin = Displays()
        twin.untracked, twin._tracked = self.untracked, self._tracked
        twin._cells = {key: shown.copy() for key, shown in self._cells.items()}
        return twin

    def add(self, key: str, cell: int) -> None:
        """Say that a cell shows one."""
        shown = self._cells.get(key, {})
        if cell in shown:
            return
        if self._tracked >= MOST_DISPLAYS:
            self.untracked += 1
            return
        self._cells.setdefault(key, shown)[cell] = None
        self._tracked += 1

    def cells_of(self, key: str) -> Iterable[int]:
        """Give the cells that showed one."""
        return self._cells.get(key, ())


class Cells:
    """All cells of a notebook, in the order in which they began."""

    def __init__(self) -> None:
        self.all: list[Cell] = []
        self.displays = Displays()
        self._owner = object()
        self._index: dict[str, int] = {}
        self._taken: dict[str, int] = {}

    def frozen(self) -> list[Cell]:
        """Give the cells as they are; later changes are made to copies."""
        self._owner = object()
        return self.all.copy()

    def clone(self) -> Cells:
        """Make another that goes its own way; costs some microseconds for each hundred cells."""
        twin = Cells()
        twin.all = self.frozen()
        twin.displays = self.displays.clone()
        twin._index, twin._taken = self._index.copy(), self._taken.copy()
        return twin

    def begin(self, record: Record, place: Place) -> None:
        """Fold ``{"t": "markdown", "cell", "text", "by"}`` or ``{"t": "start", "cell", "source", "by"}``."""
        is_code = record["t"] == "start"
        clean_text(record["source" if is_code else "text"])
        {**clean_json(record["by"])}
        self._put(record["cell"], place, is_code=is_code)

    def append_text(self, record: Record, place: Place) -> None:
        """Fold ``{"t": "text", "cell", "text"}``."""
        clean_text(record["text"])
        _add(self._find(record["cell"], is_code=False), place)

    def output(self, record: Record, place: Place) -> None:
        """Fold ``{"t": "out", "cell", "out"}`` and ``{"t": "over", "cell", "budget"}``."""
        raw = record.get("out", {}) if record["t"] == "over" else record["out"]
        kind, key = raw.get("output_type"), display_key(raw)
        cell = self._find(record["cell"], is_code=True)
        if kind == "update_display_data":
            cell.version = place[1]
            for index in self.displays.cells_of(key or ""):
                shown = self._own(index)
                shown.updates = shown.updates or {}
                shown.updates[key or ""] = place
                shown.version = place[1]
            return
        _add(cell, place)
        if key is not None and clean_output(raw) is not None:
            self.displays.add(key, self._index[record["cell"]])

    def end(self, record: Record, place: Place) -> None:
        """Fold ``{"t": "end", "cell", "status", ...}``."""
        ending_outputs(record, has_error=False)  # raises for one that cannot be read
        clean_json(dict(record))
        cell = self._find(record["cell"], is_code=True)
        _add(cell, place)
        cell.running = False

    def add_notice(self, cell_id: str, record: Record, place: Place) -> None:
        """Add a markdown cell that the journal does not have as one."""
        cell = self._put(cell_id, None, is_code=False)
        cell.extras = ((place[1], {"t": "markdown", "cell": cell_id, **record}),)
        cell.version = place[1]

    def end_running(self, message: str, place: Place, since: int = 0) -> None:
        """End whatever has no end, from number ``since`` on: the service or the sandbox ended under it."""
        for index in range(since, len(self.all)):
            if self.all[index].running:
                cell = self._own(index)
                end = {"t": "end", "cell": cell.recorded_id, "status": "died", "message": message}
                cell.extras += ((place[1], {**end, "state_preserved": False}),)
                cell.running, cell.version = False, place[1]

    def set_branch(self, begin: int, branch: str, place: Place) -> list[str]:
        """Say of the cells from number ``begin`` on in which branch they ran, where that is not said; their ids."""
        for index in range(begin, len(self.all)):
            if self.all[index].branch is None:
                cell = self._own(index)
                cell.branch, cell.version = branch, place[1]
        return [cell.id for cell in self.all[begin:]]

    def supersede(self, first: str, winner: str, place: Place) -> None:
        """Say of the code from a cell on that a merge has put another state in the place of the one it made."""
        for index in range(self._index.get(first, len(self.all)), len(self.all)):
            if self.all[index].is_code and self.all[index].superseded_by is None:
                cell = self._own(index)
                cell.superseded_by, cell.version = winner, place[1]

    def revive(self, names: Iterable[str], place: Place) -> None:
        """Say of cells that were superseded that they have made the state of what is merged now."""
        for index in (self._index[name] for name in names if name in self._index):
            cell = self._own(index)
            cell.superseded_by, cell.version = None, place[1]

    def __contains__(self, recorded_id: str) -> bool:
        return recorded_id in self._index

    def _find(self, recorded_id: str, *, is_code: bool) -> Cell:
        """Find the cell; if its begin was lost, one that says so takes its place."""
        index = self._index.get(recorded_id)
        if index is None or self.all[index].is_code != is_code:
            return self._put(recorded_id, None, is_code=is_code)
        return self._own(index)

    def _own(self, index: int) -> Cell:
        cell = self.all[index]
        if cell.owner is not self._owner:
            cell = self.all[index] = cell.owned_by(self._owner)
        return cell

    def _put(self, recorded_id: str, place: Place | None, *, is_code: bool) -> Cell:
        cell = Cell(self._unique_id(recorded_id), recorded_id, len(self.all), self._owner, is_code=is_code)
        self._index[recorded_id] = len(self.all)
        self.all.append(cell)
        if place is not None:
            _add(cell, place)
        return cell

    def _unique_id(self, recorded: str) -> str:
        """Make a valid id that no other cell has.

        A client may run a cell of its own again under the same id; that is another cell here.
        """
        base = NOT_CELL_ID.sub("-", recorded)[:CELL_ID_LENGTH] or "cell"
        unique = base
        while unique in self._taken:
            self._taken[base] += 1
            suffix = f"-{self._taken[base]}"
            unique = base[: CELL_ID_LENGTH - len(suffix)] + suffix
        unique = recorded if unique == recorded else unique  # the very string: it is held once
        self._taken[unique] = 1
        return unique


def display_key(raw: Record) -> str | None:
    """Give what a display is known by: its id, or the digest of one that is longer than ids are."""
    transient = raw.get("transient")
    name = transient.get("display_id") if isinstance(transient, Mapping) else None
    if not isinstance(name, str):
        return None
    if len(name) <= CELL_ID_LENGTH:
        return name
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=32).hexdigest() + "#"


def _add(cell: Cell, place: Place) -> None:
    cell.extend(place)
    cell.version = place[1]
