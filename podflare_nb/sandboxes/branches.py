"""Branches of live sandboxes: fork, merge, diff, rewind, and the tree of a family.

Joins what each needs, in its order: the sandboxes' turn between two executions (``Sandbox.quiet``), kernels and files
(the handles), places (``quotas``, and the tenant's admission), the notebooks (``lineage.Notebooks``). It decides who
may; how a kernel forks is ``provisioning``'s, what a fork of a notebook is ``transcripts``'. Above: handlers and chat.

What has begun is brought to its end even if whoever asked for it goes away. Two calls for one sandbox wait for each
other as executions do, each for its ``wait_seconds``, and then find what the first has made of it.

A branch has what its parent had, its labels, limits and what is left of its lifetime included, and its own from then
on. After a merge the parent's checkpoints stay good, the winner's end. After a rewind the checkpoints of turns that
left the notebook are the new branch's, whose notebook still has them.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from ..errors import ConflictError, InvalidArgumentError, NoCapacityError, NotFoundError, PodflareError
from ..provisioning.handle import Fork, KernelHandle
from ..storage.sandboxes import SandboxRecord, SandboxRecords
from . import difference, endings
from .background import BackgroundWork
from .checkpoints import FORK_SECONDS, Checkpoint
from .lineage import Notebooks, Origin
from .manager import SandboxManager
from .quotas import Hold
from .sandbox import Sandbox
from .settings import SandboxSettings

log = logging.getLogger(__name__)

MAX_CHILDREN = 32
WAIT_SECONDS = 30.0
MAX_FAMILY = 1000
"""Members that the tree of a family shows, the newest."""

Admit = Callable[[str, int, int], AbstractContextManager[None]]
"""Holds places of a tenant (id) for so many MiB each, so many of them. Raises QuotaExceededError."""


@dataclass(frozen=True, slots=True)
class ForkOutcome:
    """What a fork made; ``warnings`` and ``failures`` hold sentences, one failure for each child there is not."""

    children: list[Sandbox]
    warnings: list[str]
    failures: list[str]


class Branches:
    """Forks, merges, compares and rewinds the sandboxes of one manager."""

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        *,
        manager: SandboxManager,
        records: SandboxRecords,
        notebooks: Notebooks,
        settings: SandboxSettings,
        admit: Admit,
        clock: Callable[[], datetime],
    ) -> None:
        self._manager, self._records, self._notebooks = manager, records, notebooks
        self._settings, self._admit, self._clock = settings, admit, clock
        self._work = BackgroundWork("branching")

    def __repr__(self) -> str:
        return f"<Branches {self._work!r}>"

    async def fork(
        self, tenant_id: str, sandbox_id: str, n: int, *, wait_seconds: float = WAIT_SECONDS, strict: bool = False
    ) -> ForkOutcome:
        """Fork a sandbox ``n`` times, behind all that it was given to run before.

        Raises InvalidArgumentError, NotFoundError, GoneError, QuotaExceededError, ConflictError (code still runs after
        ``wait_seconds``; ``strict`` and something cannot come along: details ``warnings``) and NoCapacityError if not
        one could be made. In every case the parent goes on, and what was not made has left nothing.
        """
        if not 1 <= n <= MAX_CHILDREN:
            raise InvalidArgumentError(f"n is {n}; it must be a whole number from 1 to {MAX_CHILDREN}.")
        parent = self._manager.get(tenant_id, sandbox_id)
        self._check_forks(parent)
        patience = Patience(wait_seconds)
        async with AsyncExitStack() as held:
            hold = held.enter_context(self._places(parent, n))
            await held.enter_async_context(parent.quiet(wait_seconds))
            work = self._fork(parent, n, hold, held.pop_all(), wait_seconds=patience.left, strict=strict)
            return await self._work.to_its_end(work)

    async def merge(
        self, tenant_id: str, parent_id: str, winner_id: str, *, wait_seconds: float = WAIT_SECONDS
    ) -> None:
        """Make the winner's state the parent's, whose id, clients and queue stay; the winner is over.

        Code that runs in either is waited for, and what waits in the winner, too; what waits in the parent runs
        afterwards. Raises InvalidArgumentError for itself, NotFoundError, GoneError, and ConflictError for one of
        another family, or while code or a turn of the chat runs in the winner; then both are as before.
        """
        if parent_id == winner_id:
            raise InvalidArgumentError("A sandbox cannot be merged into itself. Name one of its branches.")
        parent, winner = self._manager.get(tenant_id, parent_id), self._manager.get(tenant_id, winner_id)
        _check_family(parent, winner)
        self._notebooks.check_no_turn(winner.id)  # its code would be waited for in vain
        async with AsyncExitStack() as held:
            await _both_quiet(held, parent, winner, wait_seconds, first=parent)
            self._notebooks.check_no_turn(winner.id)
            await self._work.to_its_end(self._merge(parent, winner, held.pop_all()))

    async def diff(self, tenant_id: str, sandbox_id: str, other_id: str) -> dict[str, Any]:
        """Tell what ``other`` has and the sandbox has not, and the other way round (``difference``).

        Raises what ``merge`` raises for these two.
        """
        if sandbox_id == other_id:
            raise InvalidArgumentError("A sandbox does not differ from itself. Name one of its branches.")
        one, other = self._manager.get(tenant_id, sandbox_id), self._manager.get(tenant_id, other_id)
        _check_family(one, other)
        async with AsyncExitStack() as held:
            await _both_quiet(held, one, other, WAIT_SECONDS)
            kernel, others = one.kernel.handle, other.kernel.handle
            with _kernel_reached(one, other):
                variables, other_variables, files = await asyncio.gather(
                    kernel.variables(), others.variables(), kernel.changes(others)
                )
        notebook, others_notebook = await self._notebooks.nodes(one.id, other.id)
        return await asyncio.to_thread(
            difference.compare, files, (variables, other_variables), (notebook, others_notebook)
        )

    async def rewind(self, tenant_id: str, sandbox_id: str, turn_id: str) -> Sandbox:
        """Bring memory, files and notebook back to after a turn; gives the branch that keeps the way not taken.

        Raises NotFoundError for a turn whose state is not kept (it lists those that are), ConflictError without
        checkpoints or while code or a turn of the chat runs, GoneError, QuotaExceededError, NoCapacityError.
        """
        sandbox = self._manager.get(tenant_id, sandbox_id)
        if not sandbox.checkpoints.most:
            sandbox.checkpoints.find(turn_id)
        self._notebooks.check_no_turn(sandbox.id)
        async with AsyncExitStack() as held:
            hold = held.enter_context(self._places(sandbox, 1))
            await held.enter_async_context(sandbox.quiet(WAIT_SECONDS))
            checkpoint = sandbox.checkpoints.find(turn_id)
            self._notebooks.check_no_turn(sandbox.id)
            return await self._work.to_its_end(self._rewind(sandbox, checkpoint, hold, held.pop_all()))

    def tree(self, tenant_id: str, sandbox_id: str) -> list[SandboxRecord]:
        """List the whole family of a sandbox, live and ended, oldest first. Raises NotFoundError."""
        record = self._manager.record(tenant_id, sandbox_id)
        return self._records.family(record.family or record.id, limit=MAX_FAMILY)

    async def settle(self) -> None:
        """Wait until what was begun is over."""
        await self._work.settle()

    def _check_forks(self, sandbox: Sandbox) -> None:
        spec = self._settings.templates.get(sandbox.template)
        if spec is not None and spec.language != "python":
            raise ConflictError(f"Only Python kernels fork; the template {spec.name} is {spec.language}.")

    @contextmanager
    def _places(self, parent: Sandbox, count: int) -> Iterator[Hold]:
        with (
            self._admit(parent.tenant_id, parent.limits.memory_mib, count),
            self._manager.places.hold(parent.tenant_id, count) as hold,
        ):
            yield hold

    async def _fork(  # noqa: PLR0913 - what the call named, and what it holds
        self, parent: Sandbox, n: int, hold: Hold, held: AsyncExitStack, *, wait_seconds: float, strict: bool
    ) -> ForkOutcome:
        async with held:
            with _kernel_reached(parent):
                fork = await parent.kernel.handle.fork(n, wait_seconds=wait_seconds, strict=strict)
            return await self._adopt(parent, fork, hold)

    async def _adopt(self, parent: Sandbox, fork: Fork, hold: Hold) -> ForkOutcome:
        """Make sandboxes of the forks of a kernel; one that fails does not fail the others."""
        handles = [cast("KernelHandle", child) for child in fork.children]
        if parent.end is not None:
            await asyncio.gather(*(handle.kill() for handle in handles))
            raise endings.over(parent.id, parent.end.reason, parent.end.message, parent.end.merged_into)
        turn_id, cells = self._notebooks.position(parent.id)
        first = parent.origin.first if parent.origin else parent.id
        origin = Origin(parent.id, first, turn_id, cells, self._clock())
        children, failures = [], list(fork.failures)
        for handle in handles:
            try:
                children.append(await self._manager.adopt(parent, handle, origin))
            except PodflareError as error:
                failures.append(error.message)
            except Exception:
                log.exception("a fork of %s could not be made a sandbox", parent.id)
                failures.append("A branch could not be made by a fault of the service; its log has the details.")
            else:
                hold.left -= 1
        if not children:
            raise NoCapacityError(next(iter(failures), "No branch could be made."))
        return ForkOutcome(children, [warning.text for warning in fork.warnings], failures)

    async def _merge(self, parent: Sandbox, winner: Sandbox, held: AsyncExitStack) -> None:
        async with held:
            with _kernel_reached(parent, winner), winner.kernel.passing():
                await parent.kernel.succeed(winner.kernel.handle)
                winner.kernel.give_away()
            await parent.terminals.end_all(endings.REPLACED.format(how=f"{winner.id} was merged into it"))
            origin = winner.origin
            siblings = [] if origin is None else self._records.of_fork(origin.parent_id, origin.at)
            try:
                self._notebooks.merge(parent.id, winner.id, [each for each in siblings if each != winner.id])
            finally:
                message = endings.merged(winner.id, parent.id)
                await self._manager.begin_end(winner, "merged", message, parent.id)

    async def _rewind(self, sandbox: Sandbox, checkpoint: Checkpoint, hold: Hold, held: AsyncExitStack) -> Sandbox:
        async with held:
            with _kernel_reached(sandbox):
                fork, woken = await _fork_and_wake(sandbox, checkpoint)
            try:
                branch = (await self._adopt(sandbox, fork, hold)).children[0]
                try:
                    await sandbox.kernel.succeed(woken)
                    await sandbox.terminals.end_all(endings.REPLACED.format(how="it was rewound to an earlier turn"))
                except BaseException:
                    await self._manager.begin_end(branch, "closed", "The rewind that it was made for failed.")
                    raise
            except BaseException:
                await woken.kill()
                raise
            branch.checkpoints.keep(sandbox.checkpoints.part(checkpoint))
            self._notebooks.rewind(sandbox.id, checkpoint.turn_id, branch.id)
            return branch


class Patience:
    """A time to wait that several waits share. Seconds."""

    def __init__(self, seconds: float) -> None:
        self._until = asyncio.get_running_loop().time() + seconds

    @property
    def left(self) -> float:
        """What is left of it."""
        return max(self._until - asyncio.get_running_loop().time(), 0.0)


@contextmanager
def _kernel_reached(*sandboxes: Sandbox) -> Iterator[None]:
    """Of sandboxes that live, a kernel that does not is a conflict, which ends when another one takes its place."""
    try:
        yield
    except NotFoundError as error:
        if any(each.end is not None for each in sandboxes):
            raise
        raise ConflictError(f"{error.message} Run code in the sandbox, then try again.") from error


async def _fork_and_wake(sandbox: Sandbox, checkpoint: Checkpoint) -> tuple[Fork, KernelHandle]:
    """Both at the same time, both or none."""
    fork, woken = await asyncio.gather(
        sandbox.kernel.handle.fork(1, wait_seconds=FORK_SECONDS), checkpoint.kernel.wake(), return_exceptions=True
    )
    if isinstance(fork, BaseException):
        if not isinstance(woken, BaseException):
            await woken.kill()
        raise fork
    if isinstance(woken, BaseException):
        await asyncio.gather(*(child.kill() for child in fork.children))
        raise woken
    return fork, woken


async def _both_quiet(
    held: AsyncExitStack, one: Sandbox, other: Sandbox, wait_seconds: float, *, first: Sandbox | None = None
) -> None:
    """Hold both kernels between executions: in ``first`` before all that waits there, else behind it."""
    patience = Patience(wait_seconds)
    # Always in one order, so that two calls for the same two never wait for each other.
    for sandbox in sorted((one, other), key=lambda each: each.id):
        await held.enter_async_context(sandbox.quiet(patience.left, first=sandbox is first))
    for sandbox in (one, other):
        if (end := sandbox.end) is not None:
            raise endings.over(sandbox.id, end.reason, end.message, end.merged_into)


def _check_family(one: Sandbox, other: Sandbox) -> None:
    if one.kernel.handle.family != other.kernel.handle.family:
        raise ConflictError(
            f"{other.id} is of another family than {one.id}: only a sandbox, its forks and their forks belong together."
        )
