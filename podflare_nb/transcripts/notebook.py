"""The notebook, folded from the journal's records: cells, turns, and what is said of the recording itself.

``apply`` takes any record, in the order of the journal, and never fails: what it cannot read is counted and
said. The result is plain JSON (nbformat 4.5), never trusted, never signed: its outputs are a tenant's.
``cells`` are below, ``rendering`` and ``projection`` above.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ..protocol.provenance import Model
from .cells import Cells, Record, iso, present
from .header import SCHEMA, TranscriptHeader
from .outputs import clean_json, clean_text
from .turns import Turn

SERVICE_ENDED_IN_RUN = "The service ended during this run."
SERVICE_ENDED_IN_TURN = "The service ended during this turn."
SANDBOX_ENDED_IN_RUN = "The sandbox ended during this run."
SANDBOX_ENDED_IN_TURN = "The sandbox ended during this turn."

EXCERPT = 200

TURN_NOTICES = {
    "limit": "**The turn ended at a limit.**",
    "error": "**The turn failed.**",
    "cancelled": "**The turn was cancelled.**",
}


class Notebook:
    """One notebook under way. ``version`` changes with every record."""

    def __init__(self, header: TranscriptHeader) -> None:
        self.cells = Cells()
        self.turns: dict[str, Turn] = {}
        self.version = 0
        self._header = header
        self._end: dict[str, Any] | None = None
        self._flaws: dict[str, int] = {}
        self._folds: dict[str, Callable[[Record], object]] = {
            "transcript": lambda _: None,
            "turn": self._begin_turn,
            "turn-end": self._end_turn,
            "markdown": self.cells.add_markdown,
            "text": self.cells.append_text,
            "start": self.cells.start,
            "out": self.cells.output,
            "end": self.cells.end,
            "recovered": self._recover,
            "closed": self._close,
            "lost": lambda record: self._flaw("lost_records", record["records"]),
            "torn": lambda record: self._flaw("torn_bytes", record["bytes"]),
        }

    def apply(self, record: Record | None) -> None:
        """Fold one record; None stands for a line that is damaged."""
        self.version += 1
        fold = self._folds.get(record["t"]) if record is not None else None
        if fold is None or record is None:
            self._flaw("damaged_records", 1)
            return
        try:
            fold(record)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
            # A line changed by hand or written by another version: the rest is still worth showing.
            self._flaw("damaged_records", 1)

    @property
    def is_running(self) -> bool:
        """Whether a turn or a cell has no end."""
        return any(turn.status == "running" for turn in self.turns.values()) or any(
            getattr(cell, "running", False) for cell in self.cells.all
        )

    def metadata(self) -> dict[str, Any]:
        """Give the notebook's own metadata."""
        header = self._header
        spec = header.kernelspec
        return {
            "kernelspec": {
                "display_name": str(spec.get("display_name", header.display_name)),
                "language": str(spec.get("language", "python")),
                "name": str(spec.get("name", "python3")),
            },
            "language_info": {"name": "python", **header.language_info},
            "podflare_nb": {
                "schema": SCHEMA,
                "sandbox_id": header.sandbox_id,
                "template": header.template,
                "created_at": iso(header.created_at.timestamp()),
                "turns": [_turn_view(turn) for turn in self.turns.values()],
                **present(forked_from=header.forked_from, end=self._end, recording=self._flaws or None),
            },
        }

    def node(self) -> dict[str, Any]:
        """Give the whole notebook as nbformat's JSON."""
        return {
            "cells": [cell.view() for cell in self.cells.all],
            "metadata": self.metadata(),
            "nbformat": 4,
            "nbformat_minor": 5,
        }

    def _begin_turn(self, record: Record) -> None:
        model = record["by"].get("model")
        self.turns[record["turn_id"]] = Turn(
            turn_id=clean_text(record["turn_id"]),
            status="running",
            message=clean_text(record["text"]),
            model=None if model is None else Model(**clean_json(model)),
            started_at=datetime.fromtimestamp(record["at"], UTC),
        )
        self.cells.add_markdown(record)

    def _end_turn(self, record: Record) -> None:
        turn_id, status = record["turn_id"], record["status"]
        cause = clean_text(record["error"]) if record.get("error") else None
        turn = self.turns.get(turn_id)
        if turn is not None:
            ended_at = datetime.fromtimestamp(record["at"], UTC)
            self.turns[turn_id] = replace(
                turn, status=status, ended_at=ended_at, usage=clean_json(record.get("usage")), error=cause
            )
        if status in TURN_NOTICES:
            sentence = f"{TURN_NOTICES[status]} {cause}" if cause else TURN_NOTICES[status]
            self._notice(f"{turn_id}-end", sentence, turn_id=turn_id, status=status)

    def _recover(self, record: Record) -> None:
        self._end_running(record["at"], SERVICE_ENDED_IN_RUN, SERVICE_ENDED_IN_TURN)

    def _close(self, record: Record) -> None:
        self._end_running(record["at"], SANDBOX_ENDED_IN_RUN, SANDBOX_ENDED_IN_TURN)
        self._end = present(reason=record.get("reason"), message=record.get("message"), at=iso(record["at"]))

    def _end_running(self, at: float, in_run: str, in_turn: str) -> None:
        self.cells.end_running(in_run)
        for turn in [turn for turn in self.turns.values() if turn.status == "running"]:
            self._end_turn({"turn_id": turn.turn_id, "status": "error", "error": in_turn, "at": at})

    def _flaw(self, name: str, amount: int) -> None:
        """Say that the record is not whole: for programs in the metadata, for people as a cell."""
        self._flaws[name] = self._flaws.get(name, 0) + amount
        sentences = {
            "lost_records": f"{amount} records could not be written here (disk full).",
            "damaged_records": "Records could not be read here.",
            "torn_bytes": f"The last {amount} bytes of the record were torn and are set aside.",
        }
        if name != "damaged_records" or self._flaws[name] == amount:  # said once, not for each line
            self._notice("recording", f"**This transcript is not whole.** {sentences[name]}")

    def _notice(self, cell_id: str, text: str, **stamp: Any) -> None:
        self.cells.add_markdown({"cell": cell_id, "text": text, "by": {"notice": True, **stamp}})


def _turn_view(turn: Turn) -> dict[str, Any]:
    return {
        "turn_id": turn.turn_id,
        "status": turn.status,
        "message": shortened(turn.message, EXCERPT),
        "started_at": iso(turn.started_at.timestamp()),
        **present(
            model=None if turn.model is None else turn.model.model_dump(),
            ended_at=None if turn.ended_at is None else iso(turn.ended_at.timestamp()),
            usage=turn.usage,
            error=turn.error,
        ),
    }


def shortened(text: str, length: int) -> str:
    """Shorten a text to ``length`` characters, the last of them an ellipsis."""
    return text if len(text) <= length else text[: length - 1] + "…"
