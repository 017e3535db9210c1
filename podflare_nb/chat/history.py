"""Earlier turns of a sandbox, as far as a model is told of them.

A turn that ended well keeps the provider's own messages (``native``), so that prompt caches stay warm; every
other one, and every turn from before a restart, is told by its cells. Pure: ``messages`` makes pydantic-ai's
messages of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from ..protocol.observation import joined, observe
from ..protocol.states import ExecutionStatus, Language
from ..sandboxes.execution import ExecutionResult

BASH_MAGIC = "%%bash\n"


@dataclass(frozen=True, slots=True)
class PastText:
    """What the agent said."""

    text: str


@dataclass(frozen=True, slots=True)
class PastRun:
    """Code that was run, and what the model was told of its outcome."""

    source: str
    language: Language
    result: str
    tool_call_id: str
    branch: str | None = None
    """The name of the branch that it ran in; None: in the sandbox itself."""


@dataclass(slots=True)
class PastTurn:
    """One earlier turn. ``note`` says how it ended when it did not end well."""

    turn_id: str
    message: str
    steps: list[PastText | PastRun] = field(default_factory=list)
    note: str | None = None
    native: Any = None
    """pydantic-ai's messages of this turn, or None."""
    native_size: int = 0

    def leave_out(self, branches: Collection[str]) -> None:
        """What ran in these branches is not part of the sandbox's state: later turns are not told of it."""
        self.steps = [step for step in self.steps if isinstance(step, PastText) or step.branch not in branches]

    @property
    def size(self) -> int:
        """About how many characters a model reads for it."""
        if self.native is not None:
            return self.native_size
        told = (len(s.text) if isinstance(s, PastText) else len(s.source) + len(s.result) for s in self.steps)
        return len(self.message) + sum(told)


def newest_within(turns: Sequence[PastTurn], characters: int) -> list[PastTurn]:
    """The newest turns whose sizes together stay within ``characters``, in their order; the last one always."""
    kept: list[PastTurn] = []
    for turn in reversed(turns):
        characters -= turn.size
        if characters < 0 and kept:
            break
        kept.append(turn)
    return kept[::-1]


def turns_of_notebook(notebook: Mapping[str, Any], limit: int) -> list[PastTurn]:
    """Earlier turns, read from the notebook's cells. Cells that belong to no turn are not told."""
    turns: dict[str, PastTurn] = {}
    for cell in notebook.get("cells", []):
        ours = cell.get("metadata", {}).get("podflare_nb", {})
        turn_id = ours.get("turn_id")
        if turn_id is None:
            continue
        source = joined(cell.get("source"))
        turn = turns.setdefault(turn_id, PastTurn(turn_id, ""))
        if cell.get("cell_type") == "code":
            turn.steps.append(_run_of_cell(cell, source, ours, limit))
        elif ours.get("role") == "user":
            turn.message += source
        elif source.strip():
            turn.steps.append(PastText(source))
    return [turn for turn in turns.values() if turn.message]


def _run_of_cell(cell: Mapping[str, Any], source: str, ours: dict[str, Any], limit: int) -> PastRun:
    told: Any = ours.get("status")
    status: ExecutionStatus = told if told in get_args(ExecutionStatus) else "ok"
    result = ExecutionResult(status=status, exit_code=0 if status == "ok" else 1, execution_count=None)
    bash = source.startswith(BASH_MAGIC)
    return PastRun(
        source=source.removeprefix(BASH_MAGIC),
        language="bash" if bash else "python",
        result=observe(cell.get("outputs", []), result, limit).text,
        tool_call_id=ours.get("tool_call_id") or f"call_{cell.get('id')}",
    )
