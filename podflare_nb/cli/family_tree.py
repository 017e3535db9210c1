"""Sandboxes in the order of their families: each branch below the one that it was forked from, with lines to it.

Pure; ``sandboxes list`` and the chat's ``/branches`` print what comes out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

Row = dict[str, Any]


def arranged(rows: Sequence[Row]) -> list[tuple[str, Row]]:
    """Give each row with the lines that lead to it; the order among siblings, and among families, stays.

    A branch whose parent is not among the rows stands on its own.
    """
    known = {row["id"] for row in rows}
    below: dict[str | None, list[Row]] = defaultdict(list)
    for row in rows:
        parent = parent_of(row)
        below[parent if parent in known else None].append(row)
    return list(_family(below))


def parent_of(row: Row) -> str | None:
    """Tell what a sandbox was forked from."""
    return (row.get("forked_from") or {}).get("sandbox_id")


def _family(below: dict[str | None, list[Row]]) -> Iterator[tuple[str, Row]]:
    # Not recursive: a line of forks may be as long as a person likes. None may be its own ancestor, as ids are new.
    ahead = [("", "", row) for row in reversed(below[None])]
    while ahead:
        lead, own, row = ahead.pop()
        yield lead + own, row
        lead += {"": "", "├─ ": "│  ", "└─ ": "   "}[own]
        children = below.get(row["id"], [])
        marks = ["├─ "] * (len(children) - 1) + ["└─ "]
        ahead += [(lead, mark, child) for mark, child in zip(marks, children, strict=False)][::-1]
