"""Samples into a table: medians, p99, the ratio to a plain server, and the target beside each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One measured thing. ``ours`` and ``plain`` are samples in ``unit``; ``target`` is in words."""

    name: str
    unit: str
    ours: Sequence[float]
    plain: Sequence[float] = ()
    target: str = ""
    note: str = ""


class Report:
    """Collects rows and lays them out."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Take a row; one without a sample is left out."""
        if row.ours:
            self.rows.append(row)

    def raw(self) -> list[dict[str, Any]]:
        """Every sample, for a file."""
        return [
            {"name": row.name, "unit": row.unit, "target": row.target, "note": row.note,
             "ours": list(row.ours), "plain": list(row.plain)}
            for row in self.rows
        ]  # fmt: skip

    def table(self) -> str:
        """Lay the rows out for a terminal."""
        head = ("", "n", "p50", "p99", "plain p50", "p99", "ratio", "target")
        lines = [head, *(_cells(row) for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
        text = [
            "  ".join(
                cell.ljust(width) if column in {0, len(head) - 1} else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        text.insert(1, "-" * max(len(line) for line in text))
        return "\n".join(text)


def percentile(samples: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: always a value that was measured."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered) + 0.5) - 1))]


def median(samples: Sequence[float]) -> float:
    """The middle value."""
    return percentile(samples, 0.5)


def _cells(row: Row) -> tuple[str, ...]:
    plain = (_shown(median(row.plain)), _shown(percentile(row.plain, 0.99))) if row.plain else ("", "")
    ratio = f"{median(row.plain) / median(row.ours):.1f}x" if row.plain and median(row.ours) else ""
    name = f"{row.name} [{row.unit}]" + (f" ({row.note})" if row.note else "")
    ours = (_shown(median(row.ours)), _shown(percentile(row.ours, 0.99)))
    return (name, str(len(row.ours)), *ours, *plain, ratio, row.target)


def _shown(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"
