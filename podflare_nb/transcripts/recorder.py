"""What a sandbox's executions say, as records of its transcript.

Stands on ``sandboxes.execution``'s protocol, which the sandbox calls in order and before any client is told;
what is recorded is everything that it is given, up to the transcript's budget. ``cells`` reads the records back.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ..sandboxes.execution import ExecutionRequest, ExecutionResult, ExecutionTiming, Output
from .journal import encode
from .transcript import Transcript


class Recorder:
    """An ``ExecutionObserver`` that records into a transcript."""

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._unrecorded: set[str] = set()
        self._over: dict[str, tuple[int, int]] = {}
        """Outputs and their bytes that went over the budget, of each cell that has some."""

    def execution_started(self, cell_id: str, request: ExecutionRequest, source: str) -> None:
        """Record the cell with its source and who ran it."""
        if not request.store:
            self._unrecorded.add(cell_id)
            return
        by = request.provenance.model_dump(exclude_none=True)
        self._transcript.record(
            {"t": "start", "at": self._transcript.clock(), "cell": cell_id, "source": source, "by": by}
        )

    def execution_output(self, cell_id: str, output: Output) -> None:
        """Record one output as it came; over the budget, that there was one."""
        if cell_id in self._unrecorded:
            return
        budget = self._transcript.budget
        if self._transcript.journal.end < budget:
            self._transcript.record({"t": "out", "cell": cell_id, "out": output})
            return
        if cell_id not in self._over:
            self._transcript.record({"t": "over", "cell": cell_id, "budget": budget})
        outputs, size = self._over.get(cell_id, (0, 0))
        self._over[cell_id] = outputs + 1, size + len(encode(output))

    def execution_ended(self, cell_id: str, result: ExecutionResult) -> None:
        """Record how it ended."""
        if cell_id in self._unrecorded:
            self._unrecorded.discard(cell_id)
            return
        record: dict[str, Any] = {
            "t": "end",
            "at": self._transcript.clock(),
            "cell": cell_id,
            "status": result.status,
            "exit_code": result.exit_code,
            "execution_count": result.execution_count,
            "timing": execution_metadata(result.timing),
        }
        if result.message is not None:
            record["message"] = result.message
        if not result.state_preserved:
            record["state_preserved"] = False
        if result.truncation is not None:
            record["truncation"] = {
                "produced_bytes": result.truncation.produced_bytes,
                "kept_bytes": result.truncation.kept_bytes,
            }
        if (over := self._over.get(cell_id)) is not None:
            record["over"] = {"budget": self._transcript.budget, "outputs": over[0], "bytes": over[1]}
        self._transcript.record(record)


def execution_metadata(timing: ExecutionTiming) -> dict[str, str]:
    """Name the stamps as nbformat's ``metadata.execution`` does."""
    stamps = {
        "iopub.status.busy": timing.busy,
        "iopub.execute_input": timing.execute_input,
        "shell.execute_reply": timing.execute_reply,
        "iopub.status.idle": timing.idle,
    }
    return {name: _iso(moment) for name, moment in stamps.items() if moment is not None}


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
