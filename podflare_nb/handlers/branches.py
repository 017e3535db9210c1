"""Branches of a sandbox: fork, merge, diff, rewind, and the tree of its family."""

from __future__ import annotations

import asyncio
import logging

from tornado import web

from ..errors import PodflareError
from ..protocol.requests import Diff, Fork, Nothing, Rewind
from ..protocol.responses import BranchInfo, BranchList, CheckpointInfo, DiffResult, ForkResult, RewindResult
from ..sandboxes.branches import WAIT_SECONDS
from ..sandboxes.checkpoints import Checkpoint
from ..sandboxes.sandbox import Sandbox
from ..storage.sandboxes import SandboxRecord
from .authorization import authorized
from .base import PodflareHandler
from .idempotency import OnceHandler
from .sandboxes import forked_from
from .services import Services

log = logging.getLogger(__name__)

RESOURCE = "podflare_nb:sandboxes"
USAGE_SECONDS = 2.0


class ForkHandler(OnceHandler):
    """``POST /v1/sandboxes/{id}/fork``."""

    @web.authenticated
    @authorized("execute", resource=RESOURCE)
    async def post(self, sandbox_id: str) -> None:
        """Make branches; they are ready when this answers."""
        request = self.read(Fork)
        services = await self.services()
        await self.answer_once(
            lambda: self._fork(services, sandbox_id, request), lambda made: self._end(services, made)
        )

    async def _fork(self, services: Services, sandbox_id: str, request: Fork) -> ForkResult:
        wait_seconds = WAIT_SECONDS if request.wait_seconds is None else request.wait_seconds
        outcome = await services.branches.fork(
            self.who.tenant.id, sandbox_id, request.n, wait_seconds=wait_seconds, strict=bool(request.strict)
        )
        children = [child.id for child in outcome.children]
        return ForkResult(children=children, warnings=outcome.warnings, failures=outcome.failures)

    async def _end(self, services: Services, made: ForkResult) -> None:
        endings = [services.sandboxes.close(self.who.tenant.id, child) for child in made.children]
        await asyncio.gather(*endings, return_exceptions=True)


class MergeHandler(PodflareHandler):
    """``POST /v1/sandboxes/{parent}/merge_into/{winner}``."""

    @web.authenticated
    @authorized("execute", resource=RESOURCE)
    async def post(self, parent_id: str, winner_id: str) -> None:
        """Make the winner's state the parent's; the winner's id answers 404 from then on."""
        self.read(Nothing)
        services = await self.services()
        await services.branches.merge(self.who.tenant.id, parent_id, winner_id)
        self.set_status(204)
        await self.finish()


class DiffHandler(PodflareHandler):
    """``POST /v1/sandboxes/{id}/diff``."""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def post(self, sandbox_id: str) -> None:
        """Tell what another branch has that this one has not: files, variables, cells."""
        request = self.read(Diff)
        services = await self.services()
        found = await services.branches.diff(self.who.tenant.id, sandbox_id, request.other)
        await self.answer(DiffResult.model_validate(found))


class RewindHandler(PodflareHandler):
    """``POST /v1/sandboxes/{id}/rewind``."""

    @web.authenticated
    @authorized("execute", resource=RESOURCE)
    async def post(self, sandbox_id: str) -> None:
        """Bring memory, files and notebook back to after a turn."""
        request = self.read(Rewind)
        services = await self.services()
        branch = await services.branches.rewind(self.who.tenant.id, sandbox_id, request.turn_id)
        await self.answer(RewindResult(sandbox_id=sandbox_id, turn_id=request.turn_id, branch=branch.id))


class BranchesHandler(PodflareHandler):
    """``GET /v1/sandboxes/{id}/branches``."""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, sandbox_id: str) -> None:
        """List the whole family, live and ended, and the turns that this sandbox can be rewound to."""
        services = await self.services()
        records = services.branches.tree(self.who.tenant.id, sandbox_id)
        sandbox = services.sandboxes.live.get(sandbox_id)
        checkpoints = [] if sandbox is None else await checkpoints_of(sandbox)
        branches = [branch_of(services, record) for record in records]
        await self.answer(BranchList(branches=branches, checkpoints=checkpoints))


def branch_of(services: Services, record: SandboxRecord) -> BranchInfo:
    """Describe one member of a family."""
    sandbox = services.sandboxes.live.get(record.id)
    return BranchInfo(
        id=record.id,
        forked_from=forked_from(record),
        state="closed" if sandbox is None else sandbox.state,
        created_at=record.created_at,
        ended_at=record.ended_at,
        end_reason=record.end_reason,
        merged_into=record.merged_into,
        title=record.title,
        n_cells=None if sandbox is None else services.transcripts.open(record.id).position()[1],
    )


async def checkpoints_of(sandbox: Sandbox) -> list[CheckpointInfo]:
    """Describe what is kept, with those that are being taken now."""
    await sandbox.checkpoints.settled()
    return list(await asyncio.gather(*(_described(checkpoint) for checkpoint in sandbox.checkpoints.all())))


async def _described(checkpoint: Checkpoint) -> CheckpointInfo:
    """What it holds is unknown when it ends meanwhile, or cannot be asked."""
    private_bytes: int | None = None
    try:
        async with asyncio.timeout(USAGE_SECONDS):
            private_bytes = (await checkpoint.kernel.usage()).memory_bytes
    except (TimeoutError, PodflareError) as error:
        log.info("The memory of a checkpoint is unknown: %s", error)
    return CheckpointInfo(turn_id=checkpoint.turn_id, at=checkpoint.at, private_bytes=private_bytes)
