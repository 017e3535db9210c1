"""Follows what other clients run in the sandbox's kernel (a JupyterLab on it), so that the transcript has it, too.

Sees only iopub: an ``execute_input`` with an unknown parent begins a cell of role user, the parent's idle ends it.
Nothing is sent, nobody waits; bounded, since a kernel may claim any number of clients.
"""

from collections.abc import Callable
from datetime import datetime

from ..protocol.provenance import Provenance
from .execution import ExecutionObserver, ExecutionRequest
from .messages import MalformedError, Received
from .outputs import OutputLimits, OutputTally
from .run import Run

MAX_RUNS = 16
"""Beyond it the oldest counts as ended."""


class Visitors:
    """The executions of other clients that are under way, by the id of their request."""

    def __init__(
        self,
        observer: ExecutionObserver,
        limits: OutputLimits,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._observer, self._limits, self._clock, self._new_id = observer, limits, clock, new_id
        self._runs: dict[str, Run] = {}

    def __repr__(self) -> str:
        return f"<Visitors running={len(self._runs)}>"

    @property
    def running(self) -> bool:
        """Whether any is under way."""
        return bool(self._runs)

    def said(self, message: Received) -> bool:
        """Take a message; False if it belongs to no visitor. Raises MalformedError."""
        run = self._runs.get(message.parent_id)
        if run is None:
            if message.kind != "execute_input" or not message.parent_id:
                return False
            run = self._begin(message)
        output = run.said(message, self._clock())
        if output is not None:
            self._observer.execution_output(run.cell_id, output)
        elif run.done:
            del self._runs[message.parent_id]
            self._observer.execution_ended(run.cell_id, run.result())
        return True

    def close(self, message: str) -> None:
        """The kernel is gone: end them all."""
        runs, self._runs = self._runs, {}
        for run in runs.values():
            self._observer.execution_ended(run.cell_id, run.died(message))

    def _begin(self, message: Received) -> Run:
        code = message.content().get("code")
        if not isinstance(code, str):
            raise MalformedError("an input without code")
        if len(self._runs) >= MAX_RUNS:
            oldest = next(iter(self._runs))
            run = self._runs.pop(oldest)
            self._observer.execution_ended(run.cell_id, run.result())
        run = Run(self._new_id(), "python", OutputTally(self._limits), needs_reply=False)
        self._runs[message.parent_id] = run
        request = ExecutionRequest(code, provenance=Provenance(role="user"), cell_id=run.cell_id)
        self._observer.execution_started(run.cell_id, request, code)
        return run
