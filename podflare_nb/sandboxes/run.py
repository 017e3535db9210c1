"""One execution from the kernel's side: gathers its messages until nothing more can come.

Takes messages, keeps times, tally and reply, and makes the result; sends nothing and waits for nothing. The
executor's own runs end with the reply and the kernel's idle, runs of other clients with the idle alone.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from ..protocol.states import Language
from .execution import ExecutionResult, ExecutionTiming, Output
from .messages import Received
from .outcome import DIED, INTERRUPTED, TIMED_OUT, Outcome, outcome
from .outputs import KINDS, OutputTally, count_of

Cause = Literal["timeout", "cancel", "interrupt"]

LOST_OUTPUT = "The kernel produced output faster than it can be passed on; the end of it is lost."


@dataclass(slots=True)
class Run:
    """What is known of one execution. ``cause``: why we ended it, if we did."""

    cell_id: str
    language: Language
    tally: OutputTally
    needs_reply: bool = True
    cause: Cause | None = None
    idle: bool = False
    replied: bool = False
    _reply: dict[str, Any] = field(default_factory=dict)
    _error: dict[str, Any] | None = None
    _count: int | None = None
    _times: dict[str, datetime] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Nothing more can come."""
        return self.idle and (self.replied or not self.needs_reply)

    @property
    def begun(self) -> bool:
        """The kernel has said that it runs: an interrupt finds it from now on."""
        return "execute_input" in self._times

    def said(self, message: Received, now: datetime) -> Output | None:
        """Take a message of iopub; give the output to pass on, if it is one. Raises MalformedError."""
        kind = message.kind
        if kind in KINDS:
            output = self.tally.admit(message)
            if output is not None and kind == "error":
                self._error = {"status": "error", "ename": output["ename"], "evalue": output["evalue"]}
            return output
        if kind == "status":
            state = message.content().get("execution_state")
            if state == "idle":
                self.idle = True
                self._times["idle"] = now
            elif state == "busy":
                self._times.setdefault("busy", now)
        elif kind == "execute_input":
            self._count = count_of(message.content())
            self._times.setdefault("execute_input", now)
        return None

    def reply(self, message: Received, now: datetime) -> list[Output]:
        """Take the reply; one that cannot be read counts as whatever iopub told. Raises MalformedError.

        Gives what it has for a pager (Jupyter's payload "page"), which our clients do not have: outputs to pass on.
        """
        self.replied = True
        self._times["execute_reply"] = now
        self._reply = message.content()
        self._count = count_of(self._reply) or self._count
        pages = [self.tally.admit_page(text) for text in _paged(self._reply.get("payload"))]
        return [page for page in pages if page is not None]

    def result(self, *, complete: bool = True) -> ExecutionResult:
        """The end by the kernel's word. ``complete`` False: its idle never came."""
        reply = self._reply or self._error or {"status": "ok"}
        ended = outcome(reply, self.language, interrupted=self.cause is not None)
        if self.cause == "timeout":
            ended = Outcome("timeout", TIMED_OUT, "The time was up and the code was interrupted; variables are kept.")
        return self._made(ended, None if complete else LOST_OUTPUT)

    def died(self, message: str) -> ExecutionResult:
        """The end by the kernel's death; ``message`` is the kernel's, or ours if we killed it."""
        if self.cause == "timeout":
            ended = Outcome("timeout", TIMED_OUT, message)
        elif self.cause == "cancel":
            ended = Outcome("interrupted", INTERRUPTED, message)
        else:
            ended = Outcome("died", DIED, message)
        return replace(self._made(ended, None), state_preserved=False)

    def _made(self, ended: Outcome, lost: str | None) -> ExecutionResult:
        return ExecutionResult(
            status=ended.status,
            exit_code=ended.exit_code,
            execution_count=self._count,
            message=ended.message or lost,
            truncation=self.tally.truncation(),
            timing=ExecutionTiming(**self._times),
        )


def _paged(payload: Any) -> list[str]:
    """The texts that a reply has for a pager, each as whole lines."""
    parts = [part for part in payload if isinstance(part, dict)] if isinstance(payload, list) else []
    bundles = [part.get("data") for part in parts if part.get("source") == "page"]
    texts = [bundle.get("text/plain") for bundle in bundles if isinstance(bundle, dict)]
    return [text.removesuffix("\n") + "\n" for text in texts if isinstance(text, str)]
