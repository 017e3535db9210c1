"""A live sandbox: one kernel at a time, one workspace, one queue of executions, one owner.

Joins the parts and answers for its state: ``kernel_keeper`` has the kernel, ``executor`` runs code on it, ``files``
reads and writes its workspace. It decides nothing about its own lifetime: ``manager`` makes and ends it.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType

from ..errors import ConflictError, GoneError
from ..protocol.states import EndReason, SandboxState
from ..provisioning.handle import KernelHandle, KernelSource
from ..provisioning.limits import Limits
from . import state
from .activity import Activity
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
    wants_end: Callable[["Sandbox", EndReason, str], object]


class Sandbox(AbstractAsyncContextManager["Sandbox"]):
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
        self.files = WorkspaceFiles(lambda: self.kernel.handle)
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
        )
        self.kernel.start(self._executor)

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
        if self._executor is not None:
            self._executor.close(end.message)
        try:
            await self.kernel.aclose()
        finally:
            self._activity.take("kernel_gone")
