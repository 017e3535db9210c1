"""What a notebook says of its branches: where it comes from, what was merged into it, what was taken back.

The records: ``transcript`` with ``forked_from`` (a branch begins); ``merge`` (what follows are the winner's
records, and those of others in the family ``of`` whom it has what this notebook has not) and ``merged``;
``rewind``. A winner may have merged branches of its own, so merges nest. Pure; ``notebook`` stands above.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from .outputs import clean_json, clean_text

Record = Mapping[str, Any]


def iso(seconds: float) -> str:
    """Format a time as the notebook has it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


class Lineage:
    """Cells are told by their number in the notebook."""

    def __init__(self) -> None:
        self._origin: dict[str, Any] | None = None
        self._merges: list[dict[str, Any]] = []
        self._rewinds: list[dict[str, Any]] = []
        self._open: list[tuple[Record, int]] = []
        self._rewound: dict[str, int] = {}

    def clone(self) -> Lineage:
        """Make another that goes its own way."""
        twin = Lineage()
        twin._origin, twin._merges = self._origin, self._merges.copy()
        twin._rewinds, twin._open, twin._rewound = self._rewinds.copy(), self._open.copy(), self._rewound.copy()
        return twin

    @property
    def merging(self) -> bool:
        """Whether the records that come now are a branch's that is being merged."""
        return bool(self._open)

    @property
    def merging_since(self) -> int:
        """The number of that branch's first cell; 0 outside of a merge."""
        return self._open[-1][1] if self._open else 0

    @property
    def has_rewound(self) -> bool:
        """Whether anything was taken back."""
        return bool(self._rewinds)

    def metadata(self) -> dict[str, Any]:
        """Give what the notebook's metadata says; the keys that apply."""
        told = {"forked_from": self._origin, "merges": list(self._merges), "rewinds": list(self._rewinds)}
        return {key: value for key, value in told.items() if value}

    def forked(self, origin: Record, cells: int) -> None:
        """Begin a branch, with this many cells that are the parent's."""
        self._origin = {**clean_json(dict(origin)), "cells": cells, "at": iso(origin["at"])}

    def begin_merge(self, record: Record, cells: int) -> None:
        """Begin to take the winner's records."""
        if not isinstance(record["of"], list):
            raise TypeError("no list of sandboxes")
        self._open.append((record, cells))

    def start_of(self, record: Record, cells: int) -> int:
        """Find where the winner's cells begin, from the record of the merge's end.

        If it was rewound to before it parted, the record of the merge's begin has been taken back, too.
        """
        if self._open and self._open[-1][0]["winner"] == record["winner"]:
            return self._open[-1][1]
        return min((self._rewound[name] for name in record["of"] if name in self._rewound), default=cells)

    def end_merge(self, record: Record, ids: list[str]) -> None:
        """End it, and say what it brought."""
        if self._open and self._open[-1][0]["winner"] == record["winner"]:
            self._open.pop()
        losers = [clean_text(loser) for loser in record["losers"]]
        winner = clean_text(record["winner"])
        self._merges.append({"winner": winner, "losers": losers, "at": iso(record["at"]), "cells": ids})

    def interrupted_by(self, rewind: Record) -> Record | None:
        """Give the innermost merge that was complete when ``rewind`` was made, although its end was taken back."""
        if not self._open or rewind["sandbox_id"] in self._open[-1][0]["of"]:
            return None
        return self._open[-1][0]

    def rewound(self, record: Record, cells: int) -> None:
        """Say what was taken back, and where it lives on."""
        turn_id, branch = clean_text(record["turn_id"]), clean_text(record["branch"])
        self._rewinds.append({"turn_id": turn_id, "branch": branch, "at": iso(record["at"])})
        self._rewound[record["sandbox_id"]] = cells
