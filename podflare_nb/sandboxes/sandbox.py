"""A live sandbox: one kernel at a time, one workspace, one queue of executions, one owner.

Joins the parts and answers for its state: ``kernel_keeper`` has the kernel, ``executor`` runs code on it, ``files``
reads and writes its workspace, ``checkpoints`` holds states of earlier turns. It decides nothing about its own
lifetime: ``manager`` makes and ends it, ``branches`` forks and merges it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType

from ..errors import ConflictError
from ..protocol.egress import Egress
from ..protocol.states import EndReason, SandboxState
from ..provisioning.handle import FamilyNetwork, KernelHandle, KernelSource, NetworkRecord, Usage
from ..provisioning.limits import Limits
from . import endings, state
from .activity import Activity
from .checkpoints import Checkpoints
from .execution import Execution, ExecutionObserver, ExecutionRequest
from .executor import Executor
from .files import WorkspaceFiles
from .guarded_observer import GuardedObserver
from .kernel_keeper import KernelKeeper
from .lineage import Origin
from .network_log import NetworkLog
from .ports import Ports
from .settings import ExecutionSettings
from .terminals import Terminals, TerminalService


@dataclass(frozen=True, slots=True)
class End:
    """Why and when a sandbox ended; ``message`` is for its user."""

    reason: EndReason
    message: str
    at: datetime
    merged_into: str | None = None


@dataclass(frozen=True, slots=True)
class SandboxIdentity:
    """What does not change about a sandbox. ``origin``: where it was forked, if it was."""

    id: str
    tenant_id: str
    template: str
    created_at: datetime
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a sandbox takes from outside: its source of kernels, clock, ids, settings, and whom it tells of its end.

    ``wants_end`` is called when the sandbox itself finds that it cannot go on; ``turn_ended`` when an execution that
    was a turn of its own is over and its state is about to be kept.
    """

    kernels: KernelSource
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    settings: ExecutionSettings
    wants_end: Callable[["Sandbox", EndReason, str], object]
    turn_ended: Callable[["Sandbox", str], object]
    terminals: TerminalService


class Sandbox(AbstractAsyncContextManager["Sandbox"]):
    """A sandbox from its first kernel to its end. ``start`` it, and ``aclose`` it whatever happens."""

    def __init__(  # noqa: PLR0913 - what a create asks for
        self,
        identity: SandboxIdentity,
        handle: KernelHandle,
        surroundings: Surroundings,
        *,
        timeout_seconds: int,
        idle_timeout_seconds: int,
        labels: Mapping[str, str],
        checkpoints: int = 0,
    ) -> None:
        self.id, self.tenant_id = identity.id, identity.tenant_id
        self.template, self.created_at, self.origin = identity.template, identity.created_at, identity.origin
        self.timeout_seconds, self.idle_timeout_seconds = timeout_seconds, idle_timeout_seconds
        self.labels = dict(labels)
        self.title: str | None = None
        self.limits: Limits = handle.limits
        self._activity = Activity(surroundings.clock)
        self.end: End | None = None
        self._surroundings = surroundings
        self.kernel = KernelKeeper(
            surroundings.kernels,
            handle,
            lambda reason, message: surroundings.wants_end(self, reason, message),
            new_id=surroundings.new_id,
            max_message_bytes=surroundings.settings.output.message_bytes,
        )
        self.checkpoints = Checkpoints(checkpoints, surroundings.clock)
        self.files = WorkspaceFiles(lambda: self.kernel.handle, self.checkpoints.settled)
        self.terminals = Terminals(
            surroundings.terminals, lambda: self.kernel.handle, self._activity.was_used, surroundings.clock
        )
        self.network_log = NetworkLog(surroundings.clock)
        self._network: FamilyNetwork = handle.network
        self._network.label.setdefault("sandbox_id", self.id)
        self._network.label.setdefault("tenant_id", self.tenant_id)
        self.ports = Ports(lambda: self.kernel.handle, lambda: surroundings.clock().timestamp())
        self._executor: Executor | None = None
        self._closing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Sandbox {self.id} {self.template} {self.state}>"

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose(End("closed", "The sandbox was closed.", self._surroundings.clock()))

    @property
    def kernel_id(self) -> str:
        """Of the kernel it has now."""
        return self.kernel.handle.kernel_id

    @property
    def egress(self) -> Egress:
        """What it may reach, with all branches of its family."""
        return self._network.egress

    async def set_egress(self, egress: Egress) -> None:
        """Let it, and its family, reach this from now on. Raises NoCapacityError, ConflictError, NotFoundError."""
        await self.kernel.handle.set_egress(egress)

    async def usage(self) -> Usage:
        """What it uses now."""
        return await self.kernel.handle.usage()

    def _heard_of_network(self, records: Sequence[NetworkRecord]) -> None:
        for connection in self.network_log.hear(records):
            if self._executor is not None:
                self._executor.network_refused(connection)

    @property
    def expires_at(self) -> datetime:
        """When its total lifetime is over."""
        return self.created_at + timedelta(seconds=self.timeout_seconds)

    @property
    def state(self) -> SandboxState:
        """What it does now."""
        return self._activity.state

    @property
    def last_active_at(self) -> datetime:
        """When it was last used; counts for the idle time unless it works."""
        return self._activity.last_active_at

    def start(self, observer: ExecutionObserver) -> None:
        """Connect the kernel. ``observer`` is told of every execution."""
        surroundings = self._surroundings
        self._executor = Executor(
            self.kernel,
            self._activity,
            GuardedObserver(observer),
            surroundings.settings,
            clock=surroundings.clock,
            new_id=surroundings.new_id,
            turn_ended=self._execution_turn_ended,
        )
        self._network.listeners.add(self._heard_of_network)
        self.kernel.start(self._executor)

    async def execute(self, request: ExecutionRequest) -> Execution:
        """Queue an execution and return at once. Raises ConflictError (closing, queue full), GoneError, MergedError."""
        return self._working().submit(request)

    @asynccontextmanager
    async def quiet(self, wait_seconds: float, *, first: bool = False) -> AsyncIterator[None]:
        """Hold its kernel between two executions: behind all that wait or, ``first``, before them.

        Raises ConflictError if code still runs after so long, and what ``execute`` raises.
        """
        pause = self._working().pause(first=first)
        try:
            await pause.wait(wait_seconds)
            self._activity.was_used()
            yield
        finally:
            pause.release()
            self._activity.was_used()

    def turn_ended(self, turn_id: str) -> None:
        """A turn is over: its state is kept, if states are, before anything else is executed."""
        if self.checkpoints.most and self._executor is not None and state.takes_work(self.state):
            self.checkpoints.begin(turn_id, self._executor.pause(first=True), lambda: self.kernel.handle)

    def _execution_turn_ended(self, turn_id: str) -> None:
        if self.checkpoints.most:
            self._surroundings.turn_ended(self, turn_id)
            self.turn_ended(turn_id)

    def _working(self) -> Executor:
        if self.end is not None and (self.state == "closed" or self.end.merged_into):
            raise endings.over(self.id, self.end.reason, self.end.message, self.end.merged_into)
        if self._executor is None or not state.takes_work(self.state):
            raise ConflictError("The sandbox is closing and takes no more code. Create another one.")
        return self._executor

    async def interrupt(self) -> None:
        """Interrupt what runs now (SIGINT); the code may go on nevertheless. Nothing if nothing runs."""
        if self._executor is not None and state.takes_work(self.state):
            await self._executor.interrupt()

    def replay(self) -> bytes:
        """The last exec events, as NDJSON."""
        return b"" if self._executor is None else self._executor.replay.ndjson()

    def was_used(self) -> None:
        """Somebody used its files: the idle time begins anew."""
        self._activity.was_used()

    async def aclose(self, end: End) -> None:
        """End it: what runs and waits is ended, the kernel killed, its files gone. Idempotent; the first end counts."""
        if self._closing is None:
            self.end = end
            self._activity.take("close")
            self._closing = asyncio.get_running_loop().create_task(self._close(end))
        await asyncio.shield(self._closing)

    async def _close(self, end: End) -> None:
        self._network.listeners.discard(self._heard_of_network)
        if self._executor is not None:
            self._executor.close(end.message, endings.over(self.id, end.reason, end.message, end.merged_into))
        await self.terminals.aclose(end.message)
        try:
            await self.kernel.aclose()
            await self.checkpoints.aclose()
        finally:
            self._activity.take("kernel_gone")
