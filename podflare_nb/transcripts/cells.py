"""Cells, folded from records: what was asked, what came out, how it ended, who did it.

Pure and incremental: ``Cells`` takes one record at a time, and a cell's ``version`` tells whether it changed
since it was last looked at. A cell that failed is tagged ``raises-exception``, so that the notebook runs
again from top to bottom; one that had to be stopped or that ended its kernel is tagged ``skip-execution``,
too, because running it again would hang, or end, the run. Below are ``outputs``; ``notebook`` stands above.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from .header import SCHEMA
from .outputs import Output, OutputArea, clean_bundle, clean_count, clean_json, clean_output, clean_text, error, stream

Record = Mapping[str, Any]

NOT_CELL_ID = re.compile(r"[^a-zA-Z0-9_-]")
CELL_ID_LENGTH = 64

STOPPED = {
    "interrupted": ("KeyboardInterrupt", "The code was interrupted."),
    "timeout": ("TimeoutError", "The code was ended at its deadline."),
    "died": ("KernelDied", "The kernel ended while this ran."),
}
"""Statuses of cells that did not end by themselves, and the error that is shown when the kernel gave none."""


def iso(seconds: float) -> str:
    """Format a time as the notebook has it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def present(**values: Any) -> dict[str, Any]:
    """Keep what applies."""
    return {key: value for key, value in values.items() if value is not None}


class MarkdownCell:
    """Prose: a message, an answer, or a notice of the service."""

    def __init__(self, cell_id: str, text: str, stamp: dict[str, Any]) -> None:
        self.id = cell_id
        self.version = 0
        self._pieces = [text]
        self._stamp = stamp

    def append(self, text: str) -> None:
        """Add a piece to the text."""
        self._pieces.append(text)
        self.version += 1

    def view(self) -> dict[str, Any]:
        """Give the cell as nbformat has it."""
        self._pieces = ["".join(self._pieces)]
        return {
            "cell_type": "markdown",
            "id": self.id,
            "metadata": {"podflare_nb": dict(self._stamp)},
            "source": self._pieces[0],
        }


class CodeCell:
    """One execution with its outputs. ``end`` is None while it runs."""

    def __init__(self, cell_id: str, source: str, stamp: dict[str, Any]) -> None:
        self.id = cell_id
        self.version = 0
        self.outputs = OutputArea()
        self._source = source
        self._stamp = stamp
        self._end: Record | None = None

    @property
    def running(self) -> bool:
        """Whether its end has not been recorded."""
        return self._end is None

    def finish(self, record: Record) -> None:
        """Take the end, and say in the outputs what they would not tell by themselves."""
        self._end = record = clean_json(dict(record))
        self.version += 1
        status, message = record.get("status"), record.get("message")
        if truncation := record.get("truncation"):
            produced, kept = truncation["produced_bytes"], truncation["kept_bytes"]
            sentence = f"[output truncated: {produced:,} bytes were produced, {kept:,} were kept]\n"
            self.outputs.add(stream("stderr", sentence))
        if status in STOPPED and not any(item["output_type"] == "error" for item in self.outputs.items):
            ename, sentence = STOPPED[status]
            self.outputs.add(error(ename, message or sentence))

    def view(self) -> dict[str, Any]:
        """Give the cell as nbformat has it."""
        end: Record = self._end or {}
        count = clean_count(end.get("execution_count"))
        outputs = self.outputs.view()
        for item in outputs:
            if item["output_type"] == "execute_result" and item["execution_count"] is None:
                item["execution_count"] = count
        return {
            "cell_type": "code",
            "execution_count": count,
            "id": self.id,
            "metadata": self._metadata(end),
            "outputs": outputs,
            "source": self._source,
        }

    def _metadata(self, end: Record) -> dict[str, Any]:
        status = end.get("status", "running")
        exit_code = end.get("exit_code")
        preserved = end.get("state_preserved", True)
        metadata: dict[str, Any] = {
            "podflare_nb": {
                **self._stamp,
                "status": status,
                **present(
                    exit_code=exit_code,
                    message=end.get("message"),
                    truncated=end.get("truncation"),
                    state_preserved=None if preserved else False,
                ),
            }
        }
        if timing := end.get("timing"):
            metadata["execution"] = dict(timing)
        if status in STOPPED:
            metadata["tags"] = ["raises-exception", "skip-execution"]
        elif status == "error" or exit_code:
            metadata["tags"] = ["raises-exception"]
        return metadata


Cell = MarkdownCell | CodeCell


class Cells:
    """All cells of a notebook, in the order in which they began."""

    def __init__(self) -> None:
        self.all: list[Cell] = []
        self._by_id: dict[str, Cell] = {}
        self._taken: dict[str, int] = {}
        self._displays: dict[str, list[tuple[CodeCell, Output]]] = {}

    def add_markdown(self, record: Record) -> None:
        """Fold ``{"t": "markdown", "cell", "text", "by"}``."""
        cell = MarkdownCell(self._unique_id(record["cell"]), clean_text(record["text"]), self._stamp(record))
        self._put(record["cell"], cell)

    def append_text(self, record: Record) -> None:
        """Fold ``{"t": "text", "cell", "text"}``."""
        cell = self._by_id.get(record["cell"])
        if isinstance(cell, MarkdownCell):
            cell.append(clean_text(record["text"]))
        else:
            self.add_markdown({**record, "by": {"role": "assistant", "incomplete": True}})

    def start(self, record: Record) -> CodeCell:
        """Fold ``{"t": "start", "cell", "source", "by"}``."""
        cell = CodeCell(self._unique_id(record["cell"]), clean_text(record["source"]), self._stamp(record))
        self._put(record["cell"], cell)
        return cell

    def output(self, record: Record) -> None:
        """Fold ``{"t": "out", "cell", "out"}``."""
        raw = record["out"]
        kind = raw.get("output_type")
        cell = self._code_cell(record)
        if kind == "clear_output":
            cell.outputs.clear(wait=bool(raw.get("wait")))
        elif kind == "update_display_data":
            self._update_displays(raw)
        elif (clean := clean_output(raw)) is not None:
            held = cell.outputs.add(clean)
            if (name := _display_id(raw)) is not None:
                self._displays.setdefault(name, []).append((cell, held))
        cell.version += 1

    def end(self, record: Record) -> None:
        """Fold ``{"t": "end", "cell", "status", ...}``."""
        self._code_cell(record).finish(record)

    def end_running(self, message: str) -> None:
        """End whatever has no end: the service or the sandbox ended under it."""
        for cell in self.all:
            if isinstance(cell, CodeCell) and cell.running:
                cell.finish({"status": "died", "message": message, "state_preserved": False})

    def _update_displays(self, raw: Record) -> None:
        for cell, held in self._displays.get(_display_id(raw) or "", ()):
            held.update(clean_bundle(raw))
            cell.version += 1

    def _code_cell(self, record: Record) -> CodeCell:
        """Find the cell; if its start was lost, one that says so takes its place."""
        cell = self._by_id.get(record["cell"])
        if isinstance(cell, CodeCell):
            return cell
        return self.start({**record, "source": "", "by": {"incomplete": True}})

    def _put(self, recorded_id: str, cell: Cell) -> None:
        self._by_id[recorded_id] = cell
        self.all.append(cell)

    def _stamp(self, record: Record) -> dict[str, Any]:
        return {"schema": SCHEMA, "seq": len(self.all), **clean_json(record["by"])}

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
        self._taken[unique] = 1
        return unique


def _display_id(raw: Record) -> str | None:
    transient = raw.get("transient")
    name = transient.get("display_id") if isinstance(transient, Mapping) else None
    return name if isinstance(name, str) else None
