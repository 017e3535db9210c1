"""Sandboxes: create, list, look at, extend, close."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tornado import web

from ..errors import ForbiddenError, InvalidArgumentError
from ..protocol.egress import Egress
from ..protocol.requests import CreateSandbox, PatchSandbox
from ..protocol.responses import EgressRules, ForkedFrom, SandboxEnd, SandboxInfo, SandboxLimits, SandboxPage
from ..sandboxes import endings
from ..sandboxes.creation import CreateSpec, find_template
from ..sandboxes.sandbox import Sandbox
from ..storage.sandboxes import SandboxRecord
from ..tenants.tenant import LOCAL_TENANT_ID
from .authorization import authorized
from .base import PodflareHandler
from .idempotency import OnceHandler
from .services import Services

DEFAULT_PAGE, MAX_PAGE = 50, 200
TRUE, FALSE = frozenset({"true", "1", "yes"}), frozenset({"false", "0", "no"})


class SandboxesHandler(OnceHandler):
    """``/v1/sandboxes``."""

    @web.authenticated
    @authorized("read", resource="podflare_nb:sandboxes")
    async def get(self) -> None:
        """List the caller's sandboxes, newest first, a page at a time."""
        services = await self.services()
        limit = self._limit()
        records = services.sandboxes.page(
            self.who.tenant.id,
            limit=limit + 1,
            before=self.get_query_argument("cursor", None) or None,
            include_closed=flag(self, "include_closed"),
        )
        shown = records[:limit]
        live = services.sandboxes.live
        infos = [info_of(live[record.id]) if record.id in live else info_of_record(record) for record in shown]
        await self.answer(SandboxPage(sandboxes=infos, next_cursor=shown[-1].id if len(records) > limit else None))

    @web.authenticated
    @authorized("write", resource="podflare_nb:sandboxes")
    async def post(self) -> None:
        """Create a sandbox from a template; it is ready when this answers."""
        request = self.read(CreateSandbox)
        services = await self.services()
        spec = CreateSpec(**request.model_dump(exclude_none=True, exclude={"egress"}), egress=request.egress)
        manager, tenant_id = services.sandboxes, self.who.tenant.id
        await self.answer_once(lambda: self._create(services, spec), lambda made: manager.close(tenant_id, made.id))

    async def _create(self, services: Services, spec: CreateSpec) -> SandboxInfo:
        tenant = self.who.tenant
        if services.isolation == "none" and tenant.id != LOCAL_TENANT_ID:
            raise ForbiddenError(
                "This service runs without isolation (--isolation none), which is for its own user alone: "
                "other tenants cannot have sandboxes here."
            )
        template = find_template(spec.template, services.settings)
        wanted = spec.ram_mib or template.limits.memory_mib
        live = [s.limits.memory_mib for s in services.sandboxes.live.values() if s.tenant_id == tenant.id]
        with services.admissions.admit(tenant, live, wanted):
            return info_of(await services.sandboxes.create(tenant.id, spec))

    def _limit(self) -> int:
        text = self.get_query_argument("limit", str(DEFAULT_PAGE))
        if not text.isdecimal() or not 1 <= int(text[:6]) <= MAX_PAGE:
            raise InvalidArgumentError(f"limit is {text[:60]!r}; it must be a whole number from 1 to {MAX_PAGE}.")
        return int(text)


class SandboxHandler(PodflareHandler):
    """``/v1/sandboxes/{id}``."""

    @web.authenticated
    @authorized("read", resource="podflare_nb:sandboxes")
    async def get(self, sandbox_id: str) -> None:
        """Tell of a sandbox, live or ended: an ended one is state ``closed``, with ``end``; a merged one is a 404."""
        services = await self.services()
        record = services.sandboxes.record(self.who.tenant.id, sandbox_id)
        if record.merged_into is not None:
            raise endings.over(sandbox_id, record.end_reason, record.end_message, record.merged_into)
        sandbox = services.sandboxes.live.get(sandbox_id)
        await self.answer(info_of(sandbox) if sandbox is not None else info_of_record(record))

    @web.authenticated
    @authorized("write", resource="podflare_nb:sandboxes")
    async def patch(self, sandbox_id: str) -> None:
        """Change timeouts, labels and egress of a live sandbox."""
        request = self.read(PatchSandbox)
        given: dict[str, Any] = request.model_dump(exclude_none=True, exclude={"egress"})
        if not given and request.egress is None:
            raise InvalidArgumentError(
                "Nothing to change: give timeout_seconds, idle_timeout_seconds, labels or egress."
            )
        services = await self.services()
        tenant_id = self.who.tenant.id
        sandbox = await services.sandboxes.update(tenant_id, sandbox_id, **given, egress=request.egress)
        await self.answer(info_of(sandbox))

    @web.authenticated
    @authorized("write", resource="podflare_nb:sandboxes")
    async def delete(self, sandbox_id: str) -> None:
        """Close a sandbox; answers when nothing of it is left.

        One that has ended before answers 410 with the reason of its end: whoever closes it twice, or too late,
        learns so. One that is closing answers 204, like the call that closes it.
        """
        services = await self.services()
        services.sandboxes.get(self.who.tenant.id, sandbox_id)
        await services.chat.forget(sandbox_id)
        await services.sandboxes.close(self.who.tenant.id, sandbox_id)
        self.set_status(204)
        await self.finish()


def flag(handler: PodflareHandler, name: str, bare: str = "false") -> bool:
    """Read a flag of the query; absent is false, and without a value it is ``bare``. Raises InvalidArgumentError."""
    text = handler.get_query_argument(name, "false").lower() or bare
    if text not in TRUE | FALSE:
        raise InvalidArgumentError(f"{name} is {text[:60]!r}; it must be true or false.")
    return text in TRUE


def info_of(sandbox: Sandbox) -> SandboxInfo:
    """Describe a live sandbox."""
    end, origin = sandbox.end, sandbox.origin
    return SandboxInfo(
        id=sandbox.id,
        state=sandbox.state,
        template=sandbox.template,
        created_at=sandbox.created_at,
        expires_at=sandbox.expires_at,
        last_active_at=sandbox.last_active_at,
        timeout_seconds=sandbox.timeout_seconds,
        idle_timeout_seconds=sandbox.idle_timeout_seconds,
        labels=sandbox.labels,
        limits=SandboxLimits(
            memory_mib=sandbox.limits.memory_mib,
            cpus=sandbox.limits.cpus,
            pids=sandbox.limits.pids,
            disk_mib=sandbox.limits.disk_mib,
        ),
        kernel_id=sandbox.kernel_id,
        egress=egress_shown(sandbox.egress),
        end=SandboxEnd(reason=end.reason, message=end.message, at=end.at) if end else None,
        title=sandbox.title,
        forked_from=ForkedFrom(sandbox_id=origin.parent_id, turn_id=origin.turn_id, at=origin.at) if origin else None,
        merged_into=end.merged_into if end else None,
        checkpoints=sandbox.checkpoints.most,
    )


def egress_shown(egress: Egress) -> bool | EgressRules:
    """Show what may be reached."""
    shown = egress.to_json()
    return shown if isinstance(shown, bool) else EgressRules(**shown)


def info_of_record(record: SandboxRecord) -> SandboxInfo:
    """Describe a sandbox that has ended, from the book."""
    ended = record.ended_at or record.created_at
    return SandboxInfo(
        id=record.id,
        state="closed",
        template=record.template,
        created_at=record.created_at,
        expires_at=record.created_at + timedelta(seconds=record.timeout_seconds),
        last_active_at=ended,
        timeout_seconds=record.timeout_seconds,
        idle_timeout_seconds=record.idle_timeout_seconds,
        labels=record.labels,
        limits=SandboxLimits(
            memory_mib=int(record.limits["memory_mib"]),
            cpus=float(record.limits["cpus"]),
            pids=int(record.limits["pids"]),
            disk_mib=int(record.limits["disk_mib"]),
        ),
        kernel_id=record.kernel_id,
        end=SandboxEnd(
            reason=record.end_reason or "shutdown",
            message=record.end_message or "The sandbox has ended.",
            at=ended,
        ),
        title=record.title,
        forked_from=forked_from(record),
        merged_into=record.merged_into,
        checkpoints=record.checkpoints,
    )


def forked_from(record: SandboxRecord) -> ForkedFrom | None:
    """Tell where a branch left its parent; None for a sandbox that is no branch."""
    if record.parent_id is None or record.forked_at is None:
        return None
    return ForkedFrom(sandbox_id=record.parent_id, turn_id=record.forked_turn_id, at=record.forked_at)
