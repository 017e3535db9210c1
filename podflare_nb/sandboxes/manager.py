"""All live sandboxes of this server: makes them, finds them for their owners, ends them.

The live ones are held here; what outlives them stands in the book (``storage.sandboxes``). A sandbox of another
tenant answers as one that never was. Above: handlers and chat; below: ``sandbox``, the source of kernels.
"""

import asyncio
import math
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from ..errors import InvalidArgumentError, NoCapacityError, NotFoundError
from ..protocol.egress import Egress
from ..protocol.states import EndReason
from ..provisioning.handle import KernelHandle, KernelSource
from ..storage.sandboxes import SandboxRecord, SandboxRecords
from . import creation, endings
from .background import BackgroundWork
from .creation import CreateSpec
from .culler import Culler, Expiry, Lease
from .execution import ExecutionObserver
from .lineage import Origin
from .quotas import Places
from .sandbox import End, Sandbox, SandboxIdentity, Surroundings
from .settings import SandboxSettings
from .terminal_pump import TerminalPump
from .terminal_ring import Allowance
from .terminals import TerminalService


def _now() -> datetime:
    return datetime.now(UTC)


def _random_id() -> str:
    return secrets.token_hex(16)


class SandboxManager:
    """The live sandboxes. ``observer_for`` gives each its transcript's recorder; ``on_end`` hears of each end.

    ``on_turn`` hears of executions that were turns of their own, in sandboxes that keep states.
    """

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
        on_turn: Callable[[Sandbox, str], None] | None = None,
    ) -> None:
        self._surroundings = Surroundings(
            kernels,
            clock,
            new_id,
            settings.execution,
            self.begin_end,
            on_turn or (lambda *_: None),
            TerminalService(TerminalPump(), Allowance()),
        )
        self._kernels, self._records, self._observer_for = kernels, records, observer_for
        self._settings, self._clock, self._new_id, self._on_end = settings, clock, new_id, on_end
        self.live: dict[str, Sandbox] = {}
        """The live sandboxes by id, of all tenants."""
        self.places = Places(settings.max_live_per_tenant)
        """One for each that lives or is being made."""
        self._culler = Culler(lambda: [_lease(s) for s in self.live.values()], self._expire, clock)
        self._endings = BackgroundWork("ending sandboxes")
        self._closed = False

    def __repr__(self) -> str:
        return f"<SandboxManager live={len(self.live)}{' closed' if self._closed else ''}>"

    async def create(self, tenant_id: str, spec: CreateSpec) -> Sandbox:
        """Make a sandbox. Raises InvalidArgumentError, NotFoundError, QuotaExceededError, NoCapacityError."""
        self._check_open()
        plan = creation.plan(spec, self._settings)
        self.places.take(tenant_id)
        try:
            handle = await self._kernels.acquire(
                plan.template, limits=plan.limits, env=plan.env or None, egress=plan.egress
            )
            return await self._open(self._identity(tenant_id, plan.template), handle, plan)
        except BaseException:
            self.places.give_back(tenant_id)
            raise

    async def adopt(self, parent: Sandbox, handle: KernelHandle, origin: Origin) -> Sandbox:
        """Make a sandbox of a fork of the parent's kernel, with what is left of the parent's times.

        A place has been taken for it. If it cannot be made, the kernel is ended and the place is still taken.
        """
        left = math.ceil((parent.expires_at - self._clock()).total_seconds())
        plan = creation.CreatePlan(
            template=parent.template,
            timeout_seconds=max(left, 1),
            idle_timeout_seconds=parent.idle_timeout_seconds,
            limits=None,
            labels=parent.labels,
            env={},
            checkpoints=parent.checkpoints.most,
        )
        return await self._open(self._identity(parent.tenant_id, parent.template, origin), handle, plan, parent.title)

    def get(self, tenant_id: str, sandbox_id: str) -> Sandbox:
        """Find a live sandbox of this tenant. Raises NotFoundError; GoneError, MergedError for one that has ended."""
        sandbox = self.live.get(sandbox_id)
        if sandbox is not None and sandbox.tenant_id == tenant_id:
            return sandbox
        record = self.record(tenant_id, sandbox_id)
        raise endings.over(sandbox_id, record.end_reason, record.end_message, record.merged_into)

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

    async def update(  # noqa: PLR0913 - what may be changed, by name
        self,
        tenant_id: str,
        sandbox_id: str,
        *,
        timeout_seconds: int | None = None,
        idle_timeout_seconds: int | None = None,
        labels: Mapping[str, str] | None = None,
        title: str | None = None,
        egress: Egress | None = None,
    ) -> Sandbox:
        """Change what may change; None: as it is. ``timeout_seconds`` counts from the sandbox's creation; ``egress``
        is that of all branches of its family.

        Raises InvalidArgumentError, NoCapacityError, and what ``get`` raises; then nothing is changed.
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
        if egress is not None:
            creation.check_egress(egress, self._settings.network)
            if egress != sandbox.egress:
                await sandbox.set_egress(egress)
        if changes:
            self._records.update(sandbox_id, **changes)
            for name, value in changes.items():
                setattr(sandbox, name, value)
            sandbox.was_used()
            self._culler.watch(_lease(sandbox))
        return sandbox

    async def close(self, tenant_id: str, sandbox_id: str) -> None:
        """End a sandbox of this tenant; returns when nothing of it is left. Raises what ``get`` raises."""
        # Shielded: a client that goes away does not leave half a close behind.
        await asyncio.shield(self.begin_end(self.get(tenant_id, sandbox_id), "closed", endings.ENDINGS["closed"]))

    async def aclose(self) -> None:
        """End all sandboxes, and refuse new ones; idempotent."""
        self._closed = True
        self._culler.close()
        for sandbox in list(self.live.values()):
            self.begin_end(sandbox, "shutdown", endings.ENDINGS["shutdown"])
        await self._endings.settle()

    def _check_open(self) -> None:
        if self._closed:
            raise NoCapacityError("The service is shutting down and takes no more sandboxes.")

    def _identity(self, tenant_id: str, template: str, origin: Origin | None = None) -> SandboxIdentity:
        return SandboxIdentity(f"sbx_{self._new_id()}", tenant_id, template, self._clock(), origin)

    async def _open(
        self, identity: SandboxIdentity, handle: KernelHandle, plan: creation.CreatePlan, title: str | None = None
    ) -> Sandbox:
        try:
            self._check_open()
            sandbox = Sandbox(
                identity,
                handle,
                self._surroundings,
                timeout_seconds=plan.timeout_seconds,
                idle_timeout_seconds=plan.idle_timeout_seconds,
                labels=plan.labels,
                checkpoints=plan.checkpoints,
            )
            sandbox.title = title
            observer = self._observer_for(sandbox)
            self._records.add(_record(sandbox))
        except BaseException:
            await handle.kill()
            raise
        sandbox.start(observer)
        self.live[sandbox.id] = sandbox
        self._culler.watch(_lease(sandbox))
        return sandbox

    async def _end(self, sandbox: Sandbox, reason: EndReason, message: str, merged_into: str | None) -> None:
        if sandbox.end is not None:  # it ends already: wait with whoever ends it
            await sandbox.aclose(sandbox.end)
            return
        end = End(reason, message, self._clock(), merged_into)
        try:
            await sandbox.aclose(end)
        finally:
            del self.live[sandbox.id]
            self.places.give_back(sandbox.tenant_id)
            if self._on_end is not None:
                self._on_end(sandbox)
            self._records.update(  # last: with a full disk it raises
                sandbox.id, ended_at=end.at, end_reason=reason, end_message=message, merged_into=merged_into
            )

    def _expire(self, sandbox_id: str, expiry: Expiry) -> None:
        sandbox = self.live.get(sandbox_id)
        if sandbox is not None:
            self.begin_end(sandbox, expiry, endings.ENDINGS[expiry])

    def begin_end(
        self, sandbox: Sandbox, reason: EndReason, message: str, merged_into: str | None = None
    ) -> asyncio.Task[None]:
        """Begin to end a sandbox; the task is done when nothing of it is left. The first end counts."""
        return self._endings.begin(self._end(sandbox, reason, message, merged_into))


def _lease(sandbox: Sandbox) -> Lease:
    idle_timeout = timedelta(seconds=sandbox.idle_timeout_seconds)
    idle_at = sandbox.last_active_at + idle_timeout if sandbox.state == "ready" else None
    return Lease(sandbox.id, sandbox.expires_at, idle_at, idle_timeout)


def _record(sandbox: Sandbox) -> SandboxRecord:
    origin = sandbox.origin
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
        title=sandbox.title,
        family=origin.first if origin else None,
        parent_id=origin.parent_id if origin else None,
        forked_turn_id=origin.turn_id if origin else None,
        forked_at=origin.at if origin else None,
        checkpoints=sandbox.checkpoints.most,
    )
