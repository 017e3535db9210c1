"""The notebook, folded from the journal's records: cells, turns, and what is said of the recording itself.

``apply`` takes any record, in the order of the journal, and never fails: what it cannot read is counted and
said. What it holds is an index (see ``cells``); ``views`` reads the rest. The result is nbformat 4.5, never
trusted, never signed: its outputs are a tenant's.
``cells`` and ``lineage`` are below, ``folding`` and ``rendering`` above.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ..protocol.provenance import Model
from .cells import Cell, Cells, Place, Record
from .endings import present
from .header import SCHEMA, TranscriptHeader
from .lineage import Lineage, iso
from .outputs import clean_json, clean_text
from .turns import Turn

SERVICE_ENDED_IN_RUN = "The service ended during this run."
SERVICE_ENDED_IN_TURN = "The service ended during this turn."
SANDBOX_ENDED_IN_RUN = "The sandbox ended during this run."
SANDBOX_ENDED_IN_TURN = "The sandbox ended during this turn."
FORKED_IN_RUN = "The sandbox was forked during this run."
FORKED_IN_TURN = "The sandbox was forked in this turn, which went on in {parent}."
MERGED_IN_RUN = "The branch was merged during this run."
MERGED_IN_TURN = "The branch was merged during this turn."

EXCERPT = 200

TURN_NOTICES = {
    "limit": "**The turn ended at a limit.**",
    "error": "**The turn failed.**",
    "cancelled": "**The turn was cancelled.**",
}

_CONTINUE = {"text", "out", "over", "end"}


@dataclass(frozen=True, slots=True)
class KnownTurn:
    """A turn whose message is an excerpt if it is long; ``place`` has it all. ``cell`` counts what was before."""

    turn: Turn
    place: Place
    cell: int


@dataclass(frozen=True, slots=True)
class Edition:
    """A notebook as it was at one moment, for whoever reads it while recording goes on."""

    cells: list[Cell]
    metadata: dict[str, Any]
    version: int


class Notebook:
    """One notebook under way. ``version`` is the place of the last record that was folded."""

    def __init__(self, header: TranscriptHeader, cells: Cells | None = None) -> None:
        self.cells = Cells() if cells is None else cells
        self.turns: dict[str, KnownTurn] = {}
        self.version = 0
        self._header = header
        self._lineage = Lineage()
        self._end: dict[str, Any] | None = None
        self._flaws: dict[str, int] = {}
        self._folds: dict[str, Callable[[Record, Place], object]] = {
            "transcript": self._begin_branch,
            "turn": self._begin_turn,
            "turn-end": self._end_turn,
            "markdown": self.cells.begin,
            "text": self.cells.append_text,
            "start": self.cells.begin,
            "out": self.cells.output,
            "over": self.cells.output,
            "end": self.cells.end,
            "merge": self._begin_merge,
            "merged": self._end_merge,
            "rewind": self._rewind,
            "recovered": self._stop,
            "closed": self._stop,
            "lost": lambda record, place: self._flaw("lost_records", record["records"], place),
            "torn": lambda record, place: self._flaw("torn_bytes", record["bytes"], place),
        }

    def apply(self, record: Record | None, place: Place) -> None:
        """Fold one record; None stands for a line that is damaged."""
        self.version = place[1]
        fold = self._folds.get(record["t"]) if record is not None else None
        if fold is None or record is None:
            self._flaw("damaged_records", 1, place)
            return
        try:
            if self._lineage.has_rewound and record["t"] in _CONTINUE and record["cell"] not in self.cells:
                return  # it belongs to a cell that a rewind has taken back
            fold(record, place)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
            # A line changed by hand or written by another version: the rest is still worth showing.
            self._flaw("damaged_records", 1, place)

    def clone(self, header: TranscriptHeader) -> Notebook:
        """Make another that goes its own way from here on."""
        twin = Notebook(header, self.cells.clone())
        twin.turns = self.turns.copy()
        twin.version, twin._flaws = self.version, self._flaws.copy()
        twin._end, twin._lineage = self._end, self._lineage.clone()
        return twin

    def edition(self) -> Edition:
        """Give what it is now."""
        return Edition(self.cells.frozen(), self.metadata(), self.version)

    @property
    def is_running(self) -> bool:
        """Whether a turn or a cell has no end."""
        return any(known.turn.status == "running" for known in self.turns.values()) or any(
            cell.running for cell in self.cells.all
        )

    def metadata(self) -> dict[str, Any]:
        """Give the notebook's own metadata."""
        header = self._header
        spec = header.kernelspec
        recording = {**self._flaws, **present(displays_not_updated=self.cells.displays.untracked or None)}
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
                "turns": [_turn_view(known.turn) for known in self.turns.values()],
                **present(end=self._end, recording=recording or None),
                **self._lineage.metadata(),
            },
        }

    def _begin_turn(self, record: Record, place: Place) -> None:
        model = record["by"].get("model")
        turn = Turn(
            turn_id=clean_text(record["turn_id"]),
            status="running",
            message=shortened(clean_text(record["text"]), EXCERPT),
            model=None if model is None else Model(**clean_json(model)),
            started_at=datetime.fromtimestamp(record["at"], UTC),
        )
        self.turns[record["turn_id"]] = KnownTurn(turn, place, len(self.cells.all))
        self.cells.begin(record, place)

    def _end_turn(self, record: Record, place: Place) -> None:
        turn_id, status = record["turn_id"], record["status"]
        known = self.turns.get(turn_id)
        if known is not None and known.cell < self._lineage.merging_since:
            return  # the parent's turn, whose end in the branch means nothing to the parent
        cause = clean_text(record["error"]) if record.get("error") else None
        if known is not None:
            ended_at, usage = datetime.fromtimestamp(record["at"], UTC), clean_json(record.get("usage"))
            turn = replace(known.turn, status=status, ended_at=ended_at, usage=usage, error=cause)
            self.turns[turn_id] = replace(known, turn=turn)
        if status in TURN_NOTICES:
            sentence = f"{TURN_NOTICES[status]} {cause}" if cause else TURN_NOTICES[status]
            self._notice(f"{turn_id}-end", sentence, place, turn_id=turn_id, status=status)

    def _begin_branch(self, record: Record, place: Place) -> None:
        """Fold a header: of this notebook, of a branch it descends from, or of one that is being merged."""
        origin = record["forked_from"]
        if origin is None or self._lineage.merging:
            return
        self.cells.end_running(FORKED_IN_RUN, place)
        ended_at, cause = datetime.fromtimestamp(origin["at"], UTC), FORKED_IN_TURN.format(parent=origin["sandbox_id"])
        for turn_id, known in self.turns.items():
            if known.turn.status == "running":
                turn = replace(known.turn, status="cancelled", ended_at=ended_at, error=clean_text(cause))
                self.turns[turn_id] = replace(known, turn=turn)
        self._lineage.forked(origin, len(self.cells.all))

    def _begin_merge(self, record: Record, place: Place) -> None:
        self._lineage.begin_merge(record, len(self.cells.all))
        self.cells.revive(record.get("live") or (), place)
        if (first := record.get("superseded")) is not None:
            self.cells.supersede(first, clean_text(record["winner"]), place)

    def _end_merge(self, record: Record, place: Place) -> None:
        since = self._lineage.start_of(record, len(self.cells.all))
        self._end_running(record["at"], place, MERGED_IN_RUN, MERGED_IN_TURN, since)
        ids = self.cells.set_branch(since, clean_text(record["winner"]), place)
        for turn_id, known in self.turns.items():
            if known.cell >= since and known.turn.branch is None:
                turn = replace(known.turn, branch=clean_text(record["winner"]))
                self.turns[turn_id] = replace(known, turn=turn)
        self._lineage.end_merge(record, ids)

    def _rewind(self, record: Record, place: Place) -> None:
        """Fold the record of a rewind; ``rewinding`` has left out what it takes back."""
        while (merge := self._lineage.interrupted_by(record)) is not None:
            self._end_merge(merge, place)
        self._lineage.rewound(record, len(self.cells.all))

    def _stop(self, record: Record, place: Place) -> None:
        """Fold the end of the service, or of the sandbox: of this, or of one that is being merged."""
        if record["t"] == "recovered":
            self._end_running(record["at"], place, SERVICE_ENDED_IN_RUN, SERVICE_ENDED_IN_TURN)
            while (merge := self._lineage.interrupted_by({"sandbox_id": None})) is not None:
                self._end_merge(merge, place)
            return
        since = self._lineage.merging_since
        self._end_running(record["at"], place, SANDBOX_ENDED_IN_RUN, SANDBOX_ENDED_IN_TURN, since)
        if not self._lineage.merging:
            self._end = present(reason=record.get("reason"), message=record.get("message"), at=iso(record["at"]))

    def _end_running(self, at: float, place: Place, in_run: str, in_turn: str, since: int = 0) -> None:
        self.cells.end_running(in_run, place, since)
        for turn_id, known in list(self.turns.items()):
            if known.turn.status == "running" and known.cell >= since:
                self._end_turn({"turn_id": turn_id, "status": "error", "error": in_turn, "at": at}, place)

    def _flaw(self, name: str, amount: int, place: Place) -> None:
        """Say that the record is not whole: for programs in the metadata, for people as a cell."""
        self._flaws[name] = self._flaws.get(name, 0) + amount
        sentences = {
            "lost_records": f"{amount} records could not be written here (disk full).",
            "damaged_records": "Records could not be read here.",
            "torn_bytes": f"The last {amount} bytes of the record were torn and are set aside.",
        }
        if name != "damaged_records" or self._flaws[name] == amount:  # said once, not for each line
            self._notice("recording", f"**This transcript is not whole.** {sentences[name]}", place)

    def _notice(self, cell_id: str, text: str, place: Place, **stamp: Any) -> None:
        self.cells.add_notice(cell_id, {"text": text, "by": {"notice": True, **stamp}}, place)


def _turn_view(turn: Turn) -> dict[str, Any]:
    return {
        "turn_id": turn.turn_id,
        "status": turn.status,
        "message": turn.message,
        "started_at": iso(turn.started_at.timestamp()),
        **present(
            model=None if turn.model is None else turn.model.model_dump(),
            ended_at=None if turn.ended_at is None else iso(turn.ended_at.timestamp()),
            usage=turn.usage,
            error=turn.error,
            branch=turn.branch,
        ),
    }


def shortened(text: str, length: int) -> str:
    """Shorten a text to ``length`` characters, the last of them an ellipsis."""
    return text if len(text) <= length else text[: length - 1] + "…"
