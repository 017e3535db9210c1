"""A live fork on the host's side: kernel and files come apart at the same time, and meet again in each child.

The kernel stops between two requests and forks; from the moment that it stands still its files are frozen and new
roots are composed, in parallel; each child that sleeps and has its root is woken; the parent goes on in a root of its
own. What the parent's other processes write, though, would go on to reach what is frozen: where there are any, their
files are copied instead, and the parent stays where it was.

Every wait has its end. Whatever goes wrong after the kernel has stopped, it goes on, and what was made for children
by then is given back.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ConflictError, NoCapacityError, NotFoundError, PodflareError
from .births import Birth
from .branches import Branch
from .fork_files import ForkFiles
from .handle import ForkWarning
from .jail.branching import NewBranch
from .kernel_sockets import KernelSockets
from .orders import ENDED, Orders
from .sleeping_kernel import SleepingKernel
from .supervised_kernel import SupervisedKernel

log = logging.getLogger(__name__)
Child = SupervisedKernel | SleepingKernel
ANSWER_SECONDS = 10.0
"""Beyond what the caller is willing to wait, for the kernel to say that it is busy."""
PAUSE_SECONDS = 25.0
"""How long a kernel may stand still: by itself it would go on after 30."""
CONTINUE_SECONDS = 30.0
SETTLE_LOOKS, SETTLE_LOOK_SECONDS = 10, 0.005
"""How often to look again for the end of what the kernel itself forked on the way."""
ATTEMPTS = 2
MAX_WARNINGS, MAX_WARNING_CHARACTERS = 32, 600
WITHOUT_JAIL = "Kernels are forked in jails only: start the service with --isolation namespaces."
TERMINALS_STAY = "The sandbox's terminals stay with it and run on; a fork begins without any."
RESTLESS = "The sandbox started processes while it was forked, twice in a row."


class _DisturbedError(Exception):
    """Processes that were not there before use the parent's root, which was to be frozen."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for: see ``handle.KernelHandle.fork``."""

    n: int
    wait_seconds: float
    strict: bool
    asleep: bool


@dataclass(slots=True)
class Outcome:
    """What came of it."""

    children: list[Child] = field(default_factory=list)
    warnings: list[ForkWarning] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


async def fork(parent: SupervisedKernel, wish: Wish, new_sockets: Callable[[], KernelSockets]) -> Outcome:
    """Fork a live kernel. Raises ConflictError, NotFoundError, NoCapacityError; the parent goes on."""
    if parent.branch is None:
        raise ConflictError(WITHOUT_JAIL)
    if parent.orders is None or parent.exited.done():
        raise NotFoundError(ENDED)
    with parent.orders.exclusively():
        async with parent.branch.entering:
            return await _attempts(parent, wish, new_sockets)


async def _attempts(parent: SupervisedKernel, wish: Wish, new_sockets: Callable[[], KernelSockets]) -> Outcome:
    for _ in range(ATTEMPTS):
        with suppress(_DisturbedError):
            return await _LiveFork(parent, wish, new_sockets).run()
    raise ConflictError(RESTLESS)


class _LiveFork:
    """One attempt at a fork."""

    def __init__(self, parent: SupervisedKernel, wish: Wish, new_sockets: Callable[[], KernelSockets]) -> None:
        assert parent.branch is not None  # noqa: S101 - asked before
        assert parent.orders is not None  # noqa: S101 - the same
        assert parent.process is not None  # noqa: S101 - the same
        self._parent = parent
        self._branch: Branch = parent.branch
        self._orders: Orders = parent.orders
        self._pid = parent.process.pid
        self._wish = wish
        self._new_sockets = new_sockets
        self._births = [Birth(parent.branch.jail) for _ in range(wish.n)]
        self._children: dict[NewBranch, Child] = {}
        self._making: list[asyncio.Task[list[object]]] = []
        self._outcome = Outcome()
        self._told: list[object] = []
        self._files: ForkFiles | None = None
        self._number = 0
        self._stands_still = False

    async def run(self) -> Outcome:
        """Do it."""
        others = self._others()
        try:
            self._order()
            self._prepare()
            await self._paused(others)
            copied = bool(others & self._others())
            if copied:
                self._told.append({"kind": "processes", "text": _copied(others)})
            if self._parent.terminals:
                self._told.append({"kind": "terminals", "text": TERMINALS_STAY})
            await self._come_apart(copied=copied)
            await self._gather()
        except BaseException:
            await self._abort()
            raise
        finally:
            if self._files is not None:
                self._files.release()
        self._branch.jail.files.keep_low(self._branch.stack)
        self._outcome.warnings = _cleaned(self._told)
        return self._outcome

    def _others(self) -> set[int]:
        """Processes, but for the kernel, that use the parent's files."""
        return self._branch.group.kernel_pids() - {self._pid}

    def _order(self) -> None:
        wish = self._wish
        theirs = [birth.theirs.fileno() for birth in self._births]
        self._number = self._orders.give(
            "fork", theirs, n=wish.n, wait_seconds=wish.wait_seconds, strict=wish.strict
        )  # fmt: skip
        for birth in self._births:
            birth.theirs.close()

    def _prepare(self) -> None:
        """While the kernel comes to a halt: what the children are to be."""
        jail = self._branch.jail
        for _ in range(self._wish.n):
            name = jail.files.new_name()
            if self._wish.asleep:
                new = NewBranch(name, self._branch.group.cgroup.join_files)
                self._children[new] = SleepingKernel(self._parent, self._branch, name)
                continue
            try:
                branch = Branch(jail, name, self._branch.limits)
            except OSError as error:
                raise NoCapacityError(f"A control group could not be made: {error.strerror}.") from error
            kernel = SupervisedKernel(self._parent.template, branch, self._new_sockets())
            kernel.env = self._parent.env
            self._children[branch.as_new()] = kernel

    async def _paused(self, others: set[int]) -> None:
        seconds = self._wish.wait_seconds + ANSWER_SECONDS
        answer = await self._orders.hear({"paused", "refused"}, seconds, self._number)
        answer.close_fds()
        warnings = answer.body.get("warnings")
        told = warnings if isinstance(warnings, list) else []
        self._stands_still = answer.body["event"] == "paused"
        code = answer.body.get("code")
        # Of processes that are not its children the kernel knows nothing.
        if code == "strict" or (self._stands_still and self._wish.strict and others):
            everything = [each.text for each in _cleaned(told)] + ([_copied(others)] if others else [])
            sentences = " ".join(["Not everything would come along, and the fork was to be strict.", *everything])
            raise ConflictError(sentences, warnings=everything)
        if self._stands_still:
            self._told += told
            return
        if code == "busy":
            raise ConflictError("Code is still running in the kernel.")
        raise NoCapacityError(f"The kernel could not be forked: {str(answer.body.get('error'))[:500]}.")

    async def _come_apart(self, *, copied: bool) -> None:
        """From the moment that the kernel stands still until it goes on."""
        births = dict(zip(self._children, self._births, strict=True))
        self._files = ForkFiles(self._branch, births, copied=copied, asleep=self._wish.asleep)
        composing = asyncio.create_task(self._files.compose())
        self._making = [
            asyncio.create_task(birth.lie_down(child) if isinstance(child, SleepingKernel) else birth.wake(child))
            for birth, child in zip(self._births, self._children.values(), strict=True)
        ]
        try:
            async with asyncio.timeout(PAUSE_SECONDS):
                forked = await self._orders.hear({"forked", "refused"}, PAUSE_SECONDS, self._number)
                forked.close_fds()
                if forked.body["event"] == "refused":
                    self._stands_still = False
                    raise _not_forked(forked.body.get("error"))
                failure = _not_forked(forked.body.get("error"))
                for index in _indices(forked.body.get("failed"), self._wish.n):
                    self._births[index].fails(failure)
                if await asyncio.shield(self._files.parent) is not None:
                    await self._undisturbed()
            await self._go_on(self._files)
            await composing
        except TimeoutError as error:
            raise NoCapacityError("The kernel did not fork in time.") from error
        finally:
            composing.cancel()
            await asyncio.gather(composing, return_exceptions=True)

    async def _undisturbed(self) -> None:
        """Make sure that nobody but the kernel uses the root which it is about to leave. Raises _DisturbedError."""
        await asyncio.wait({birth.asleep for birth in self._births})
        slept = [birth.asleep for birth in self._births if birth.asleep.exception() is None]
        known = {process.result().pid for process in slept}
        for _ in range(SETTLE_LOOKS):
            if self._others() <= known:
                return
            await asyncio.sleep(SETTLE_LOOK_SECONDS)  # what the kernel forked on the way is ending
        raise _DisturbedError

    async def _go_on(self, files: ForkFiles) -> None:
        """Let the parent go on, in its new root if there is one. One that does not is dead."""
        move, branch = files.take(), self._branch
        before = branch.name
        if move is not None:
            branch.settle(move.stack, move.root)
            branch.name = move.name
        self._orders.send(
            {"op": "continue", "id": self._number}, [] if move is None else [move.root]
        )  # fmt: skip
        self._stands_still = False
        try:
            told = await self._orders.hear({"continued", "refused"}, CONTINUE_SECONDS, self._number)
            if told.body["event"] == "refused":
                told.close_fds()
                raise _not_forked(told.body.get("error"))
        except NoCapacityError as error:
            log.warning("A kernel did not go on after a fork: %s", error)
            self._parent.send_signal(signal.SIGKILL)
        else:
            told.close_fds()
            warnings = told.body.get("warnings")
            self._told += warnings if isinstance(warnings, list) else []
        finally:
            if move is not None:
                branch.jail.files.clear_away(before)

    async def _gather(self) -> None:
        """Wait for every child. Those that failed are given up; if all have, so is the fork."""
        results = await asyncio.gather(*self._making, return_exceptions=True)
        lost = []
        for birth, child, result in zip(self._births, self._children.values(), results, strict=True):
            if isinstance(result, list):
                self._outcome.children.append(child)
                self._told += result
                continue
            if not isinstance(result, PodflareError):
                log.error("A child of a fork failed", exc_info=result)
            self._outcome.failures.append(str(result))
            lost.append(_give_up(birth, child))
        await asyncio.gather(*lost)
        if not self._outcome.children:
            raise _of_all(results)

    async def _abort(self) -> None:
        """The kernel goes on as it was, and nothing is left of its children."""
        if self._stands_still:
            with suppress(PodflareError):
                self._orders.send({"op": "continue", "id": self._number})
        for task in self._making:
            task.cancel()
        await asyncio.gather(*self._making, return_exceptions=True)
        await asyncio.gather(*(birth.give_up() for birth in self._births))
        await asyncio.gather(*(child.kill() for child in self._children.values()))
        if self._stands_still:
            with suppress(PodflareError):
                (await self._orders.hear({"continued"}, ANSWER_SECONDS, self._number)).close_fds()


async def _give_up(birth: Birth, child: Child) -> None:
    await birth.give_up()
    await child.kill()


def _not_forked(told: object) -> NoCapacityError:
    """``told``: why, as the kernel says; nothing if its processes in the middle had no room."""
    if isinstance(told, str) and told and not told.startswith("BlockingIOError"):
        return NoCapacityError(f"The kernel could not be forked: {told[:500]}.")
    return NoCapacityError("There was no room for another process.")


def _of_all(failures: Iterable[object]) -> PodflareError:
    """What to tell of a fork none of whose children lives: that it is the sandbox's state, if that is known of one."""
    known = [each for each in failures if isinstance(each, PodflareError)]
    state = next((each for each in known if isinstance(each, ConflictError)), None)
    if state is not None:
        return ConflictError(state.message)
    return NoCapacityError(known[0].message if known else "No branch could be made.")


def _indices(told: object, n: int) -> list[int]:
    """Of the children that could not be forked, as the kernel says."""
    return [each for each in told if isinstance(each, int) and 0 <= each < n] if isinstance(told, list) else []


def _copied(pids: Iterable[int]) -> str:
    """What is told of processes that go on to use the parent's files."""
    names = []
    for pid in sorted(pids)[:8]:
        with suppress(OSError):
            names.append(Path(f"/proc/{pid}/comm").read_text(errors="replace").strip())
    listed = ", ".join(names) or "which have ended since"
    return f"Processes still run ({listed}): the sandbox's files were copied as they were at some moment of the fork."


def _cleaned(told: Iterable[object]) -> list[ForkWarning]:
    """What a kernel says of itself, fit to be shown: it may say anything."""
    found: dict[str, ForkWarning] = {}
    for each in told:
        if isinstance(each, dict) and len(found) < MAX_WARNINGS:
            text = "".join(c if c.isprintable() else "?" for c in str(each.get("text"))[:MAX_WARNING_CHARACTERS])
            kind = str(each.get("kind"))[:16]
            found.setdefault(text, ForkWarning(kind if kind.isidentifier() else "other", text))
    return list(found.values())
