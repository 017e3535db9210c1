"""What a turn of the chat gave: its cells, its text and how it ended, gathered from the events of its stream.

No input or output happens here. ``TurnCollector`` reads events one by one; ``Turn`` is what it ends as.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .display import html_of_bundle, preformatted, text_of
from .results import ExecutionError, Result, error_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .events import ChatEvent

TURN_ENDS = "turn-end"


@dataclass(slots=True)
class TurnCell:
    """One cell of a turn: a message, a piece of code with its outputs, or what the agent said."""

    id: str
    type: str
    """markdown or code."""
    role: str
    """user, tool or assistant."""
    source: str
    language: str | None = None
    tool_call_id: str | None = None
    outputs: list[dict[str, Any]] = field(default_factory=list)
    """nbformat's outputs, as they ended up."""
    status: str | None = None
    execution_count: int | None = None
    exit_code: int | None = None

    @property
    def stdout(self) -> str:
        """What it printed."""
        return self._stream("stdout")

    @property
    def stderr(self) -> str:
        """What it wrote to stderr."""
        return self._stream("stderr")

    @property
    def results(self) -> list[Result]:
        """Its rich outputs."""
        kinds = {"display_data", "execute_result"}
        return [
            Result(
                output.get("data") or {},
                output.get("metadata") or {},
                is_value=output["output_type"] == "execute_result",
                display_id=_display_id(output),
            )
            for output in self.outputs
            if output.get("output_type") in kinds
        ]

    @property
    def error(self) -> ExecutionError | None:
        """The exception that ended it."""
        for output in self.outputs:
            if output.get("output_type") == "error":
                return error_of(output)
        return None

    def _stream(self, name: str) -> str:
        pieces = (output for output in self.outputs if output.get("output_type") == "stream")
        return "".join(text_of(output.get("text")) for output in pieces if output.get("name") == name)

    def _repr_html_(self) -> str:
        parts = [preformatted(self.source)]
        for output in self.outputs:
            if output.get("output_type") == "stream":
                parts.append(preformatted(text_of(output.get("text"))))
            elif output.get("output_type") == "error":
                parts.append(preformatted(error_of(output).text, "#b3261e"))
            else:
                parts.append(html_of_bundle(output.get("data") or {}))
        return "".join(parts)


@dataclass(frozen=True, slots=True)
class Turn:
    """One message to the agent and all that it did until it answered."""

    id: str
    message: str
    model: str | None
    status: str
    """running, ok, error, cancelled or limit."""
    cells: list[TurnCell] = field(default_factory=list)
    """Empty where turns are listed: the notebook has them."""
    usage: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    """Why it did not end well: a sentence."""
    error_code: str | None = None
    started_at: str | None = None
    ended_at: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the agent came to its own end."""
        return self.status == "ok"

    @property
    def text(self) -> str:
        """All that the agent said, as markdown."""
        return "\n\n".join(cell.source for cell in self.cells if cell.role == "assistant" and cell.source)

    @property
    def results(self) -> list[Result]:
        """Every rich output of its code, in order."""
        return [result for cell in self.cells for result in cell.results]

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> Turn:
        """A turn as the list of turns tells it."""
        return cls(
            id=str(answer["turn_id"]),
            message=str(answer.get("message") or ""),
            model=answer.get("model"),
            status=str(answer.get("status")),
            usage=dict(answer.get("usage") or {}),
            error=answer.get("error"),
            started_at=answer.get("started_at"),
            ended_at=answer.get("ended_at"),
        )

    def __repr__(self) -> str:
        return f"<Turn {self.id} {self.status}: {len(self.cells)} cells, {self.text[:60]!r}>"

    def _repr_html_(self) -> str:
        told = [cell._repr_html_() for cell in self.cells]
        return "<hr>".join(told) + preformatted(self.error or "", "#b3261e")


class TurnCollector:
    """Reads the events of one turn in order; ``turn`` tells it so far, and whole once ``ended``."""

    def __init__(self, on_text: Callable[[str], object] | None = None) -> None:
        self._on_text = on_text
        self._cells: dict[str, TurnCell] = {}
        self._clear_next: set[str] = set()
        self._start: dict[str, Any] = {}
        self._end: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._error: dict[str, Any] = {}

    @property
    def turn(self) -> Turn:
        """The turn as far as the events told it."""
        return Turn(
            id=str(self._start.get("turn_id") or self._end.get("turn_id") or ""),
            message=str(self._start.get("message") or ""),
            model=self._start.get("model"),
            status=str(self._end.get("status") or "running"),
            cells=list(self._cells.values()),
            usage=self._end.get("usage") or self._usage,
            error=self._error.get("message") or self._end.get("message"),
            error_code=self._error.get("code"),
        )

    def add(self, event: ChatEvent) -> None:
        """Take the next event. Unknown types are skipped."""
        data = event.data if isinstance(event.data, dict) else {}
        if event.type == "turn-start":
            self._start = data
        elif event.type == "usage":
            self._usage = data
        elif event.type == "turn-error":
            self._error = data
        elif event.type == TURN_ENDS:
            self._end = data
        elif event.type == "cell-start":
            self._start_cell(data)
        elif (cell := self._cells.get(str(data.get("cell_id")))) is not None:
            self._change_cell(cell, event.type, data)

    def _start_cell(self, data: Mapping[str, Any]) -> None:
        cell = TurnCell(
            id=str(data.get("cell_id")),
            type=str(data.get("cell_type")),
            role=str(data.get("role")),
            source=text_of(data.get("source")),
            language=data.get("language"),
            tool_call_id=data.get("tool_call_id"),
        )
        self._cells[cell.id] = cell

    def _change_cell(self, cell: TurnCell, kind: str, data: Mapping[str, Any]) -> None:
        if kind == "text-delta":
            piece = text_of(data.get("text"))
            cell.source += piece
            if self._on_text:
                self._on_text(piece)
        elif kind == "cell-output" and isinstance(output := data.get("output"), dict):
            self._add_output(cell, output)
        elif kind == "cell-end":
            cell.status = data.get("status")
            cell.execution_count = data.get("execution_count")
            cell.exit_code = data.get("exit_code")

    def _add_output(self, cell: TurnCell, output: dict[str, Any]) -> None:
        kind = output.get("output_type")
        if kind == "clear_output":
            if output.get("wait"):
                self._clear_next.add(cell.id)
            else:
                cell.outputs.clear()
        elif kind == "update_display_data":
            for one in (one for each in self._cells.values() for one in each.outputs):
                if _display_id(one) is not None and _display_id(one) == _display_id(output):
                    one.update(data=output.get("data"), metadata=output.get("metadata"))
        else:
            if cell.id in self._clear_next:
                self._clear_next.discard(cell.id)
                cell.outputs.clear()
            cell.outputs.append(dict(output))


def _display_id(output: Mapping[str, Any]) -> str | None:
    transient = output.get("transient")
    found = transient.get("display_id") if isinstance(transient, dict) else None
    return found if isinstance(found, str) else None
