"""One run of code in a sandbox: what was asked, what came out, how it ended.

Outputs are nbformat's (``output_type`` of stream, display_data, execute_result, error) plus two that change
earlier ones (``update_display_data``, ``clear_output``), so that the recorder, the wire and the chat all read
the same thing. Stands on nothing; the kernel's messages become these in ``outputs``, ``executor`` runs them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from pydantic_core import from_json, to_json

from ..protocol.provenance import Provenance
from ..protocol.states import ExecutionStatus, Language

_UNPACKED = 16
"""Outputs that wait for their reader as they are; those behind them are packed."""
_REFUSALS = 32
"""Connections that were refused, of one execution: what is told of them."""
_PIECES = 256
"""Pieces of one stream that wait before they are made one."""

Output = dict[str, Any]
"""An nbformat output, or ``{"output_type": "network", ...}`` (in ``Execution.stamped`` alone), or
``{"output_type": "update_display_data", "data", "metadata", "transient"}``,
or ``{"output_type": "clear_output", "wait": bool}``. ``transient`` holds display_id where the kernel gave one."""


@dataclass(frozen=True, slots=True)
class ExecutionRequest:
    """What to run. ``cell_id`` (nbformat cell id) names the cell that records it; None lets the sandbox choose."""

    code: str
    language: Language = "python"
    timeout_seconds: float | None = None
    provenance: Provenance = field(default_factory=Provenance)
    cell_id: str | None = None
    store: bool = True
    """False: do not record it (internal bookkeeping)."""
    ends_turn: bool = False
    """Its end is the end of the turn that its provenance names, as far as we know: the state may be kept then."""


@dataclass(frozen=True, slots=True)
class ExecutionTiming:
    """When, as nbformat's ``metadata.execution`` wants it; UTC."""

    busy: datetime | None = None
    execute_input: datetime | None = None
    execute_reply: datetime | None = None
    idle: datetime | None = None


@dataclass(frozen=True, slots=True)
class Truncation:
    """Output beyond the limits was dropped: bytes that were produced in all, and that were kept."""

    produced_bytes: int
    kept_bytes: int


@dataclass(frozen=True, slots=True)
class ExecutionResult:
    """How it ended. ``exit_code`` as wire.md: 0, 1 for an exception, n of ``sys.exit(n)``, bash's own code,
    130 interrupted, 124 timeout, 137 died."""

    status: ExecutionStatus
    exit_code: int
    execution_count: int | None
    message: str | None = None
    """For timeout and died: the sentence for the user."""
    state_preserved: bool = True
    truncation: Truncation | None = None
    timing: ExecutionTiming = field(default_factory=ExecutionTiming)


class ExecutionObserver(Protocol):
    """Who is told of every execution in a sandbox, in order, before any client sees it (the transcript's recorder).

    All three are called on the event loop and must not block for longer than an append to a file.
    """

    def execution_started(self, cell_id: str, request: ExecutionRequest, source: str) -> None:
        """``source`` is the cell's source as recorded (``%%bash`` in front for bash). Also called for cells that
        another client of the kernel (JupyterLab) ran; their provenance's role is ``user``."""

    def execution_output(self, cell_id: str, output: Output) -> None:
        """One output; streams come in the pieces in which the kernel flushed them."""

    def execution_ended(self, cell_id: str, result: ExecutionResult) -> None:
        """The end; always called once per started."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the reader of an execution must know and that is no output: a code and a sentence."""

    code: str
    message: str


class Execution:
    """An execution, waiting or under way: its outputs for one reader, and its end.

    ``outputs`` (or ``stamped``) may be read once, by one reader; what nobody reads is kept up to the limits on
    output, as bytes once it is more than a little. Leaving it early changes nothing: ``cancel`` ends the run.
    """

    def __init__(self, request: ExecutionRequest, cell_id: str, cancel: Callable[[Execution], None]) -> None:
        self.request = request
        self.cell_id = cell_id
        self.source = f"%%bash\n{request.code}" if request.language == "bash" else request.code
        self.notices: tuple[Notice, ...] = ()
        """Complete when the first output comes or the run ends."""
        self.refusals: list[Notice] = []
        """Of connections, while it ran."""
        self.begun = 0
        self.ended = 0
        """When the kernel was given it, and when it ended, in milliseconds since the epoch; 0: not yet."""
        self._cancel = cancel
        self._pending: deque[tuple[int, Output | bytes, list[str]]] = deque()
        self._result: asyncio.Future[ExecutionResult] = asyncio.get_running_loop().create_future()
        self._waiter: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        state = self._result.result().status if self._result.done() else "running"
        return f"<Execution {self.cell_id} {self.request.language} {state}>"

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._result.done()

    async def result(self) -> ExecutionResult:
        """Wait for the end. Any number of readers, at any time."""
        return await asyncio.shield(self._result)

    def cancel(self) -> None:
        """End it: taken out of the queue, or interrupted and, if that does not end it, its kernel replaced."""
        if not self._result.done():
            self._cancel(self)

    async def outputs(self) -> AsyncIterator[Output]:
        """The outputs as they come; ends with the run."""
        async for _, output in self.stamped():
            if output["output_type"] != "network":
                yield output

    async def stamped(self) -> AsyncIterator[tuple[int, Output]]:
        """The outputs, each with the time of its arrival in milliseconds since the epoch.

        Pieces of one stream that arrived while nobody read come as one.
        """
        pending = self._pending
        while True:
            while pending:
                stamp, kept, more = pending.popleft()
                output: Output = from_json(kept) if isinstance(kept, bytes) else kept
                if more:
                    output = {**output, "text": "".join((output["text"], *more))}
                yield stamp, output
            if self._result.done():
                return
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def put(self, stamp: int, output: Output) -> None:
        """For the executor: one more output."""
        pending = self._pending
        if pending and output["output_type"] == "stream":
            _, last, more = pending[-1]
            # A million prints that nobody reads must become neither a million dicts nor a million strings.
            if not isinstance(last, bytes) and last.get("name") == output["name"]:
                more.append(output["text"])
                if len(more) == _PIECES:
                    more[:] = ["".join(more)]
                return
        if len(pending) < _UNPACKED or output["output_type"] == "stream":
            pending.append((stamp, output, []))
        else:
            # Parsed, it would take many times its size: nested lists most of all.
            pending.append((stamp, to_json(output), []))
        self._wake()

    def refused_connection(self, notice: Notice) -> bool:
        """For the executor: one of its connections was refused. False for one too many, or told before."""
        if len(self.refusals) >= _REFUSALS or notice in self.refusals:
            return False
        self.refusals.append(notice)
        return True

    def finish(self, stamp: int, result: ExecutionResult) -> None:
        """For the executor: the end."""
        if not self._result.done():
            self.ended = stamp
            self._result.set_result(result)
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
