"""The branches that one turn makes: forked, compared and merged under short names, closed when the turn ends.

Turns "a", "b" and "main" into sandboxes, and what is done with them into events and lines of the notebook, through
the turn's ``writer``. It forks nothing itself: ``sandboxes.branches`` does, and each branch's own notebook records
its runs. Above: ``tools``, and ``runner``, which closes what is left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from string import ascii_lowercase
from typing import Any, TypeVar

from ..errors import GoneError, InvalidArgumentError, NotFoundError
from .branch import Branch
from .comparison import compared
from .limits import TurnLimits
from .ports import Branching, Sandbox
from .writer import TurnWriter

log = logging.getLogger(__name__)

T = TypeVar("T")

MAIN = "main"
"""What the model calls the sandbox itself."""


@dataclass(frozen=True, slots=True)
class Forked:
    """What a fork gave: branches, and sentences about what could not come along and who could not be made."""

    branches: tuple[Branch, ...]
    warnings: tuple[str, ...]
    failures: tuple[str, ...]


class TurnBranches:
    """The branches of one turn. Forks and merges that were begun are brought to their end even if their caller goes."""

    def __init__(self, branching: Branching, writer: TurnWriter, limits: TurnLimits) -> None:
        self.main = Branch(MAIN, writer.sandbox)
        self._branching = branching
        self._writer = writer
        self._limits = limits
        self._names = _names()
        self._open: dict[str, Branch] = {}
        self._under_way: set[asyncio.Task[Any]] = set()
        self._merged: list[str] = []
        self._closed = False

    def __repr__(self) -> str:
        return f"<TurnBranches of {self._writer.turn.id}: open {sorted(self._open)}, merged {self._merged}>"

    def get(self, name: str | None) -> Branch:
        """Find a branch by its name; None and "main" mean the sandbox itself. Raises NotFoundError."""
        if name is None or name == MAIN:
            return self.main
        if name in self._open:
            return self._open[name]
        if name in self._merged:
            raise NotFoundError(f"Branch {name} was merged: the sandbox itself is in its state now. Leave branch out.")
        known = f"Open are {', '.join(self._open)}." if self._open else "None is open: call fork first."
        raise NotFoundError(f"There is no open branch {name!r}. {known}")

    async def fork(self, n: int) -> Forked:
        """Fork the sandbox as it is now. Raises InvalidArgumentError for n, and what the service raises."""
        most = self._limits.most_branches - len(self._open)
        if not 1 <= n <= most:
            held = f", because {len(self._open)} are open" if self._open else ""
            raise InvalidArgumentError(f"n is {n}; it must be from 1 to {most}{held}.")
        return await self._to_its_end(self._fork(n))

    async def compare(self, first: str, second: str) -> str:
        """Say what differs between two branches, as text for the model."""
        one, other = self.get(first), self.get(second)
        if one is other:
            raise InvalidArgumentError(f"{first} and {second} are the same branch; name two different ones.")
        writer = self._writer
        difference = await self._branching.branches.diff(writer.sandbox.tenant_id, one.sandbox.id, other.sandbox.id)
        text = compared(difference, one.name, other.name, self._limits.result_characters)
        told = {"branches": [one.as_dict(), other.as_dict()], "summary": text.partition("\n")[0]}
        writer.note("branch-compare", told, f"*Compared **{one.name}** with **{other.name}**.* {told['summary']}")
        return text

    async def merge(self, name: str) -> list[str]:
        """Make the sandbox that branch's state. Gives the names of the branches that are still open."""
        branch = self.get(name)
        if branch is self.main:
            raise InvalidArgumentError("The main sandbox cannot be merged into itself; name a branch.")
        await self._to_its_end(self._merge(branch))
        return list(self._open)

    async def close(self) -> None:
        """Close what was not merged, and say so in the notebook. For the turn's end; never raises."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=self._limits.stop_grace_seconds)
        self._closed = True
        left, self._open = list(self._open.values()), {}
        if not left:
            return
        self._writer.past.leave_out([branch.name for branch in left])
        told = {"branches": [branch.as_dict() for branch in left]}
        names = _listed([branch.name for branch in left])
        why, stay = ("was", "Its notebook stays") if len(left) == 1 else ("were", "Their notebooks stay")
        closed = f"*Closed {_branches(len(left))} {names}, which {why} not merged. {stay} readable.*"
        self._writer.note("branch-close", told, closed)
        await self._end([branch.sandbox for branch in left])

    async def _fork(self, n: int) -> Forked:
        writer = self._writer
        outcome = await self._branching.branches.fork(
            writer.sandbox.tenant_id, writer.sandbox.id, n, wait_seconds=self._limits.fork_wait_seconds
        )
        made = tuple(Branch(next(self._names), child) for child in outcome.children)
        if self._closed:  # the turn is over and has waited long enough: nobody else would close them
            await self._end([branch.sandbox for branch in made])
            raise GoneError("The turn has ended, and the fork came after it.", reason="closed")
        self._open |= {branch.name: branch for branch in made}
        forked = Forked(made, tuple(outcome.warnings), tuple(outcome.failures))
        told = {
            "sandbox_id": writer.sandbox.id,
            "branches": [branch.as_dict() for branch in made],
            "warnings": list(forked.warnings),
            "failures": list(forked.failures),
        }
        names = ", ".join(f"**{branch.name}** `{branch.sandbox.id}`" for branch in made)
        remarks = "".join(f"\n\n{sentence}" for sentence in (*forked.warnings, *forked.failures))
        writer.note("branch-fork", told, f"*Forked into {_branches(len(made))}* {names}.{remarks}")
        return forked

    async def _merge(self, branch: Branch) -> None:
        writer = self._writer
        await self._branching.branches.merge(writer.sandbox.tenant_id, writer.sandbox.id, branch.sandbox.id)
        del self._open[branch.name]
        self._merged.append(branch.name)
        told = {
            **branch.as_dict(),
            "into": writer.sandbox.id,
            "open": [other.as_dict() for other in self._open.values()],
        }
        left = f" Not kept: {_listed(list(self._open))}." if self._open else ""
        writer.note("branch-merge", told, f"*Merged branch **{branch.name}**: the notebook goes on from it.*{left}")

    async def _to_its_end(self, work: Coroutine[Any, Any, T]) -> T:
        """A fork that is half done when the turn is cancelled would leave branches that nobody knows of."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._is_over)
        return await asyncio.shield(task)

    def _is_over(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.info("%s: a fork or merge failed: %s", self._writer.turn.id, error)

    async def _end(self, sandboxes: Sequence[Sandbox]) -> None:
        """Close them all at once, with a bound; the service goes on with those that take longer."""
        closing = {asyncio.create_task(self._close_one(sandbox)) for sandbox in sandboxes}
        _, late = await asyncio.wait(closing, timeout=self._limits.stop_grace_seconds)
        for task in late:
            task.cancel()
        if late:
            log.warning("%s: %d of its branches take long to close", self._writer.turn.id, len(late))

    async def _close_one(self, sandbox: Sandbox) -> None:
        try:
            await self._branching.close(sandbox.tenant_id, sandbox.id)
        except (GoneError, NotFoundError):
            log.debug("%s had ended already", sandbox.id)
        except Exception:
            log.exception("the branch %s could not be closed", sandbox.id)


def _names() -> Iterator[str]:
    """Short names that a model can handle: a to z, then a2 to z2, ..."""
    yield from ascii_lowercase
    round_ = 2
    while True:
        yield from (f"{letter}{round_}" for letter in ascii_lowercase)
        round_ += 1


def _branches(count: int) -> str:
    return "branch" if count == 1 else "branches"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"**{name}**" for name in names)
