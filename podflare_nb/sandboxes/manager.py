"""All live sandboxes of this server: makes them, finds them for their owners, ends them.

The live ones are held here; what outlives them stands in the book (``storage.sandboxes``). A sandbox of another
tenant answers as one that never was. Above: handlers and chat; below: ``sandbox``, the source of kernels.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from ..errors import GoneError, InvalidArgumentError, NoCapacityError, NotFoundError
from ..protocol.states import EndReason
from ..provisioning.handle import KernelHandle, KernelSource
from ..storage.sandboxes import SandboxRecord, SandboxRecords
from . import creation
from .creation import CreateSpec
from .culler import Culler, Expiry
from .execution import ExecutionObserver
from .quotas import Places
from .sandbox import End, Sandbox, SandboxIdentity, Surroundings
from .settings import SandboxSettings

log = logging.getLogger(__name__)

_ENDINGS: dict[EndReason, str] = {
    "closed": "The sandbox was closed.",
    "idle_timeout": "The sandbox was idle for its idle_timeout_seconds and has ended.",
    "lifetime": "The sandbox reached its timeout_seconds and has ended.",
    "shutdown": "The service was shut down, and the sandbox with it.",
}


def _now() -> datetime:
    return datetime.now(UTC)


def _random_id() -> str:
    return secrets.token_hex(16)


class SandboxManager:
    """The live sandboxes. ``observer_for`` gives each its transcript's recorder; ``on_end`` hears of each end."""

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        kernels: KernelSource,
        records: SandboxRecords,
        observer_for: Callable[[Sandbox], ExecutionObserver],
        settings: SandboxSettings,
        clock: Callable[[], datetime] = _now,
        *,
        new_id: Callable[[], str] = _random_id,
        on_end: Callable[[Sandbox], None] | None = None,
    ) -> None:
        self._kernels, self._records, self._observer_for = kernels, records, observer_for
        self._settings, self._clock, self._new_id, self._on_end = settings, clock, new_id, on_end
        self._live: dict[str, Sandbox] = {}
        self._places = Places(settings.max_live_per_tenant)
        self._culler = Culler(lambda: [s.lease() for s in self._live.values()], self._expire, clock)
        self._endings: set[asyncio.Task[None]] = set()
        self._closed = False

    def __repr__(self) -> str:
        return f"<SandboxManager live={len(self._live)}{' closed' if self._closed else ''}>"

    @property
    def live(self) -> Mapping[str, Sandbox]:
        """The live sandboxes by id, of all tenants."""
        return self._live

    async def create(self, tenant_id: str, spec: CreateSpec) -> Sandbox:
        """Make a sandbox. Raises InvalidArgumentError, NotFoundError, QuotaExceededError, NoCapacityError."""
        self._check_open()
        plan = creation.plan(spec, self._settings)
        self._places.take(tenant_id)
        try:
            handle = await self._kernels.acquire(plan.template, limits=plan.limits, env=plan.env or None)
        except BaseException:
            self._places.give_back(tenant_id)
            raise
        try:
            return self._open(tenant_id, plan, handle)
        except BaseException:
            self._places.give_back(tenant_id)
            await handle.kill()
            raise

    def get(self, tenant_id: str, sandbox_id: str) -> Sandbox:
        """Find a live sandbox of this tenant. Raises NotFoundError, and GoneError with the reason of its end."""
        sandbox = self._live.get(sandbox_id)
        if sandbox is not None and sandbox.tenant_id == tenant_id:
            return sandbox
        record = self.record(tenant_id, sandbox_id)
        reason: EndReason = record.end_reason or "shutdown"
        raise GoneError(record.end_message or _ENDINGS["shutdown"], reason=reason)

    def record(self, tenant_id: str, sandbox_id: str) -> SandboxRecord:
        """Find what the book has of a sandbox of this tenant, live or ended. Raises NotFoundError."""
        record = self._records.get(sandbox_id)
        if record is None or record.tenant_id != tenant_id:
            raise NotFoundError(f"You have no sandbox {sandbox_id!r}.")
        return record

    def page(
        self, tenant_id: str, *, limit: int, before: str | None = None, include_closed: bool = False
    ) -> list[SandboxRecord]:
        """A tenant's sandboxes, newest first, as the book has them; ``live`` has the state of those that live."""
        return self._records.page(tenant_id, limit=limit, before=before, include_closed=include_closed)

    def update(  # noqa: PLR0913 - what may be changed, by name
        self,
        tenant_id: str,
        sandbox_id: str,
        *,
        timeout_seconds: int | None = None,
        idle_timeout_seconds: int | None = None,
        labels: Mapping[str, str] | None = None,
        title: str | None = None,
    ) -> Sandbox:
        """Change what may change; None: as it is. ``timeout_seconds`` counts from the sandbox's creation.

        Raises InvalidArgumentError, and what ``get`` raises; then nothing is changed.
        """
        sandbox = self.get(tenant_id, sandbox_id)
        changes: dict[str, Any] = {}
        if timeout_seconds is not None:
            creation.check_seconds("timeout_seconds", timeout_seconds, self._settings)
            age = int((self._clock() - sandbox.created_at).total_seconds())
            if timeout_seconds <= age:
                raise InvalidArgumentError(
                    f"timeout_seconds counts from the sandbox's creation, {age} seconds ago: give more than that."
                )
            changes["timeout_seconds"] = timeout_seconds
        if idle_timeout_seconds is not None:
            creation.check_seconds("idle_timeout_seconds", idle_timeout_seconds, self._settings)
            changes["idle_timeout_seconds"] = idle_timeout_seconds
        if labels is not None:
            creation.check_labels(labels)
            changes["labels"] = dict(labels)
        if title is not None:
            changes["title"] = title
        if changes:
            self._records.update(sandbox_id, **changes)
            for name, value in changes.items():
                setattr(sandbox, name, value)
            sandbox.was_used()
            self._culler.watch(sandbox.lease())
        return sandbox

    async def close(self, tenant_id: str, sandbox_id: str) -> None:
        """End a sandbox of this tenant; returns when nothing of it is left. Raises what ``get`` raises."""
        # Shielded: a client that goes away does not leave half a close behind.
        await asyncio.shield(self._begin_end(self.get(tenant_id, sandbox_id), "closed", _ENDINGS["closed"]))

    async def aclose(self) -> None:
        """End all sandboxes, and refuse new ones; idempotent."""
        self._closed = True
        self._culler.close()
        for sandbox in list(self._live.values()):
            self._begin_end(sandbox, "shutdown", _ENDINGS["shutdown"])
        await asyncio.gather(*self._endings, return_exceptions=True)

    def _check_open(self) -> None:
        if self._closed:
            raise NoCapacityError("The service is shutting down and takes no more sandboxes.")

    def _open(self, tenant_id: str, plan: creation.CreatePlan, handle: KernelHandle) -> Sandbox:
        self._check_open()
        identity = SandboxIdentity(f"sbx_{self._new_id()}", tenant_id, plan.template, self._clock())
        surroundings = Surroundings(self._kernels, self._clock, self._new_id, self._settings.execution, self._give_up)
        sandbox = Sandbox(
            identity,
            handle,
            surroundings,
            timeout_seconds=plan.timeout_seconds,
            idle_timeout_seconds=plan.idle_timeout_seconds,
            labels=plan.labels,
        )
        observer = self._observer_for(sandbox)
        self._records.add(_record(sandbox))
        sandbox.start(observer)
        self._live[sandbox.id] = sandbox
        self._culler.watch(sandbox.lease())
        return sandbox

    async def _end(self, sandbox: Sandbox, reason: EndReason, message: str) -> None:
        first = sandbox.end is None
        try:
            await sandbox.aclose(End(reason, message, self._clock()))
        finally:
            if first:
                self._ended(sandbox)

    def _ended(self, sandbox: Sandbox) -> None:
        if self._live.pop(sandbox.id, None) is None or sandbox.end is None:
            return
        self._places.give_back(sandbox.tenant_id)
        end = sandbox.end
        self._records.update(sandbox.id, ended_at=end.at, end_reason=end.reason, end_message=end.message)
        if self._on_end is not None:
            self._on_end(sandbox)

    def _expire(self, sandbox_id: str, expiry: Expiry) -> None:
        sandbox = self._live.get(sandbox_id)
        if sandbox is not None:
            self._begin_end(sandbox, expiry, _ENDINGS[expiry])

    def _give_up(self, sandbox: Sandbox, reason: EndReason, message: str) -> None:
        self._begin_end(sandbox, reason, message)

    def _begin_end(self, sandbox: Sandbox, reason: EndReason, message: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._end(sandbox, reason, message))
        self._endings.add(task)
        task.add_done_callback(self._ending_done)
        return task

    def _ending_done(self, task: asyncio.Task[None]) -> None:
        self._endings.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("A sandbox did not end cleanly: %s", error, exc_info=error)


def _record(sandbox: Sandbox) -> SandboxRecord:
    return SandboxRecord(
        id=sandbox.id,
        tenant_id=sandbox.tenant_id,
        template=sandbox.template,
        kernel_id=sandbox.kernel_id,
        created_at=sandbox.created_at,
        timeout_seconds=sandbox.timeout_seconds,
        idle_timeout_seconds=sandbox.idle_timeout_seconds,
        labels=sandbox.labels,
        limits=asdict(sandbox.limits),
    )
