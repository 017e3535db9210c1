"""Sandboxes without kernels that can be forked: the state is a dict, a fork copies it, a run is ``exec``.

They stand for ``sandboxes`` where what counts is what the agent's turn does with branches, not what a kernel does.
"""

import asyncio
import contextlib
import copy
import io
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from podflare_nb.errors import ConflictError, GoneError, NotFoundError
from podflare_nb.protocol.egress import OFF
from podflare_nb.sandboxes.execution import Execution, ExecutionObserver, ExecutionRequest, ExecutionResult

TENANT = "tenant"
HANGS = "hang()"
"""Code that runs until it is interrupted."""


class DictSandbox:
    egress = OFF
    tenant_id = TENANT
    files: Any = None

    def __init__(self, id_: str, state: dict[str, Any], observer: ExecutionObserver) -> None:
        self.id = id_
        self.state = state
        self.requests: list[ExecutionRequest] = []
        self.interrupts = 0
        self.ended_turns: list[str] = []
        self.end: str | None = None
        self.meet: asyncio.Barrier | None = None
        """Runs wait here for one another: they end only when all of them are under way at once."""
        self._observer = observer
        self._stops: dict[Execution, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def execute(self, request: ExecutionRequest) -> Execution:
        if self.end is not None:
            raise GoneError("The sandbox was closed.", reason=self.end)
        assert request.cell_id is not None
        self.requests.append(request)
        execution = Execution(request, request.cell_id, self._cancel)
        self._stops[execution] = asyncio.Event()
        self._observer.execution_started(request.cell_id, request, execution.source)
        task = asyncio.create_task(self._work(execution))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return execution

    def turn_ended(self, turn_id: str) -> None:
        self.ended_turns.append(turn_id)

    def _cancel(self, execution: Execution) -> None:
        self.interrupts += 1
        self._stops[execution].set()

    async def _work(self, execution: Execution) -> None:
        if self.meet is not None:
            await self.meet.wait()
        if execution.source == HANGS:
            await self._stops[execution].wait()
            result = ExecutionResult("interrupted", 130, 1)
        else:
            result = self._run(execution)
        self._observer.execution_ended(execution.cell_id, result)
        execution.finish(1, result)

    def _run(self, execution: Execution) -> ExecutionResult:
        text = io.StringIO()
        status = "ok"
        with contextlib.redirect_stdout(text):
            try:
                exec(execution.source, self.state)
            except Exception:  # noqa: BLE001 - as a kernel does
                status = "error"
                traceback.print_exc(file=text)
        if text.getvalue():
            output = {"output_type": "stream", "name": "stdout", "text": text.getvalue()}
            self._observer.execution_output(execution.cell_id, output)
            execution.put(0, output)
        return ExecutionResult(status, int(status != "ok"), 1)


@dataclass
class Outcome:
    children: Sequence[DictSandbox]
    warnings: Sequence[str]
    failures: Sequence[str]


@dataclass
class StandInBranches:
    """``sandboxes.branches`` over dicts. ``hold``: a fork waits for it before it returns."""

    main: DictSandbox
    observer_for: Any
    warnings: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    difference: dict[str, Any] = field(default_factory=dict)
    refuse: Exception | None = None
    hold: asyncio.Event | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    live: dict[str, DictSandbox] = field(default_factory=dict)
    compared: list[tuple[str, str]] = field(default_factory=list)
    merged: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    async def fork(
        self, tenant_id: str, sandbox_id: str, n: int, *, wait_seconds: float = 30.0, strict: bool = False
    ) -> Outcome:
        assert (tenant_id, sandbox_id, strict) == (TENANT, self.main.id, False)
        assert wait_seconds > 0
        if self.refuse is not None:
            raise self.refuse
        self.begun.set()
        if self.hold is not None:
            await self.hold.wait()
        children = []
        for _ in range(n - len(self.failures)):
            state = copy.deepcopy({k: v for k, v in self.main.state.items() if k != "__builtins__"})
            id_ = f"sbx_{len(self.live) + len(self.closed) + len(self.merged) + 1:032x}"
            self.live[id_] = DictSandbox(id_, state, self.observer_for(id_))
            children.append(self.live[id_])
        return Outcome(children, self.warnings, self.failures)

    async def merge(self, tenant_id: str, parent_id: str, winner_id: str) -> None:
        assert (tenant_id, parent_id) == (TENANT, self.main.id)
        if self.refuse is not None:
            raise self.refuse
        winner = self.live.pop(winner_id)
        winner.end = "merged"
        self.main.state = winner.state
        self.merged.append(winner_id)

    async def diff(self, tenant_id: str, sandbox_id: str, other_id: str) -> Mapping[str, Any]:
        assert tenant_id == TENANT
        if sandbox_id == other_id:
            raise ConflictError("These are the same sandbox.")
        self.compared.append((sandbox_id, other_id))
        return self.difference

    async def close(self, tenant_id: str, sandbox_id: str) -> None:
        assert tenant_id == TENANT
        if sandbox_id not in self.live:
            raise NotFoundError("You have no such sandbox.")
        self.live.pop(sandbox_id).end = "closed"
        self.closed.append(sandbox_id)
