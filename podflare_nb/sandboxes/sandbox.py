"""A live sandbox: one kernel at a time, one workspace, one queue of executions, one owner.

Joins the parts and answers for its state: ``kernel_keeper`` has the kernel, ``executor`` runs code on it, ``files``
reads and writes its workspace. It decides nothing about its own lifetime: ``manager`` makes and ends it.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from ..errors import ConflictError, GoneError
from ..protocol.states import EndReason, SandboxState
from ..provisioning.handle import KernelHandle, KernelSource, Usage
from ..provisioning.kernel_exit import KernelExit
from ..provisioning.limits import Limits
from . import state
from .culler import Lease
from .execution import Execution, ExecutionObserver, ExecutionRequest
from .executor import Executor
from .files import WorkspaceFiles
from .guarded_observer import GuardedObserver
from .kernel_keeper import KernelKeeper
from .settings import ExecutionSettings


@dataclass(frozen=True, slots=True)
class End:
    """Why and when a sandbox ended; ``message`` is for its user."""

    reason: EndReason
    message: str
    at: datetime


@dataclass(frozen=True, slots=True)
class SandboxIdentity:
    """What does not change about a sandbox."""

    id: str
    tenant_id: str
    template: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a sandbox takes from outside: its source of kernels, clock, ids, settings, and whom it tells of its end.

    ``wants_end`` is called when the sandbox itself finds that it cannot go on.
    """

    kernels: KernelSource
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    settings: ExecutionSettings
    wants_end: Callable[["Sandbox", EndReason, str], None]


class Sandbox:
    """A sandbox from its first kernel to its end. ``start`` it, and ``aclose`` it whatever happens."""

    egress = False

    def __init__(  # noqa: PLR0913 - what a create asks for
        self,
        identity: SandboxIdentity,
        handle: KernelHandle,
        surroundings: Surroundings,
        *,
        timeout_seconds: int,
        idle_timeout_seconds: int,
        labels: Mapping[str, str],
    ) -> None:
        self.id, self.tenant_id = identity.id, identity.tenant_id
        self.template, self.created_at = identity.template, identity.created_at
        self.timeout_seconds, self.idle_timeout_seconds = timeout_seconds, idle_timeout_seconds
        self.labels = dict(labels)
        self.title: str | None = None
        self.last_active_at = identity.created_at
        self.limits: Limits = handle.limits
        self.state: SandboxState = "ready"
        self.end: End | None = None
        self._surroundings = surroundings
        self._keeper = KernelKeeper(
            surroundings.kernels,
            handle,
            new_id=surroundings.new_id,
            max_message_bytes=surroundings.settings.output.message_bytes,
        )
        self.files = WorkspaceFiles(lambda: self._keeper.handle)
        self._executor: Executor | None = None
        self._closing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Sandbox {self.id} {self.template} {self.state}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose(End("closed", "The sandbox was closed.", self._surroundings.clock()))

    @property
    def kernel_id(self) -> str:
        """Of the kernel it has now."""
        return self._keeper.handle.kernel_id

    @property
    def expires_at(self) -> datetime:
        """When its total lifetime is over."""
        return self.created_at + timedelta(seconds=self.timeout_seconds)

    @property
    def last_exit(self) -> KernelExit | None:
        """How its last kernel ended that has been replaced; None: the first one lives."""
        return self._keeper.last_exit

    def start(self, observer: ExecutionObserver) -> None:
        """Connect the kernel. ``observer`` is told of every execution."""
        surroundings = self._surroundings
        self._executor = Executor(
            self._keeper,
            self,
            GuardedObserver(observer),
            surroundings.settings,
            clock=surroundings.clock,
            new_id=surroundings.new_id,
        )
        self._keeper.start(self._executor)

    async def execute(self, request: ExecutionRequest) -> Execution:
        """Queue an execution and return at once. Raises ConflictError (closing, queue full), GoneError."""
        if self.end is not None and self.state == "closed":
            raise GoneError(self.end.message, reason=self.end.reason)
        if self._executor is None or not state.takes_work(self.state):
            raise ConflictError("The sandbox is closing and takes no more code. Create another one.")
        return self._executor.submit(request)

    async def interrupt(self) -> None:
        """Interrupt what runs now (SIGINT); the code may go on nevertheless. Nothing if nothing runs."""
        if self._executor is not None and state.takes_work(self.state):
            await self._executor.interrupt()

    def replay(self) -> bytes:
        """The last exec events, as NDJSON."""
        return b"" if self._executor is None else self._executor.replay.ndjson()

    async def usage(self) -> Usage:
        """What it uses now."""
        return await self._keeper.handle.usage()

    def lease(self) -> Lease:
        """Its deadlines now."""
        idle_at = None
        if self.state == "ready":
            idle_at = self.last_active_at + timedelta(seconds=self.idle_timeout_seconds)
        return Lease(self.id, self.expires_at, idle_at)

    def was_used(self) -> None:
        """The idle time begins anew."""
        self.last_active_at = self._surroundings.clock()

    async def aclose(self, end: End) -> None:
        """End it: what runs and waits is ended, the kernel killed, its files gone. Idempotent; the first end counts."""
        if self._closing is None:
            self.end = end
            self.state = state.after(self.state, "close")
            self._closing = asyncio.get_running_loop().create_task(self._close(end))
        await asyncio.shield(self._closing)

    async def _close(self, end: End) -> None:
        if self._executor is not None:
            self._executor.close(end.message)
        try:
            await self._keeper.aclose()
        finally:
            self.state = state.after(self.state, "kernel_gone")

    # What the executor tells.

    def work_began(self) -> None:
        """An execution waits or runs."""
        self.state = state.after(self.state, "work_began")
        self.was_used()

    def work_ended(self) -> None:
        """None does any more; the idle time begins."""
        self.state = state.after(self.state, "work_ended")
        self.was_used()

    def kernel_hopeless(self, reason: EndReason, message: str) -> None:
        """It cannot go on."""
        self._surroundings.wants_end(self, reason, message)
