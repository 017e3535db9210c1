"""The files of one fork while they are made: what ``jail.branching`` tells, dealt out to parent and children."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import ConflictError, NoCapacityError, PodflareError
from .births import Birth
from .branches import Branch
from .jail import inside
from .jail.branching import Branching, ForkOrder, NewBranch
from .jail.plan import JailPlan, Stack

COMPOSE_SECONDS = 25.0
FULL_DISK = "The disk of the sandbox is full: delete files in it, then fork again."


@dataclass(frozen=True, slots=True)
class Move:
    """Where the parent goes on."""

    name: str
    stack: Stack
    root: int


class ForkFiles:
    """``compose`` makes them; ``parent`` resolves to where the parent goes on, None if it stays where it is.

    ``copied``: what it wrote is copied, because others go on to write to it; else it is frozen.
    """

    def __init__(self, parent: Branch, children: Mapping[NewBranch, Birth], *, copied: bool, asleep: bool) -> None:
        files = parent.jail.files
        self._jail = parent.jail
        self._births = {child.name: birth for child, birth in children.items()}
        self._new = files.new_name()
        self._upper = parent.stack.upper
        stack = files.compact(parent.stack)
        self._order = ForkOrder(
            parent=parent.name,
            stack=stack,
            children=tuple(children),
            successor="" if copied else self._new,
            copied=self._new if copied else "",
            renewed=frozenset(key for key, below in stack.below.items() if below != parent.stack.below[key]),
            asleep=asleep,
        )
        self.parent: asyncio.Future[Move | None] = asyncio.get_running_loop().create_future()
        self._taken = False
        files.hold(self, stack.topped(dict.fromkeys(self._upper, self._new)))

    async def compose(self) -> None:
        """Make them. Nothing is raised: whoever waits for what could not be made is told why."""
        failure: PodflareError = NoCapacityError("The files of the fork could not be made.")
        try:
            async with (
                asyncio.timeout(COMPOSE_SECONDS),
                self._jail.errand(_work(self._jail.plan, self._order)) as errand,
            ):
                below, written = Stack(), frozenset[str]()
                async for told in errand:
                    body, root = told.body, told.fds[0] if told.fds else -1
                    if "written" in body:
                        below, written = self._order.stack.frozen(body["written"]), frozenset(body["written"])
                        if not written or self._order.copied:
                            self.parent.set_result(None)
                    elif body.get("failed") in self._births:
                        self._births[body["failed"]].fails(because(OSError(body["errno"], body["error"])))
                    elif body["root"] in self._births:
                        upper = dict.fromkeys(self._upper, body["root"]) if root >= 0 else {}
                        self._births[body["root"]].has_files(below.topped(upper), root)
                    else:
                        self.parent.set_result(Move(self._new, self._moved(below, written), root))
        except OSError as error:
            failure = because(error)
        finally:
            if not self.parent.done():
                self.parent.set_exception(failure)
                self.parent.exception()  # seen: the parent goes on in any case
            for birth in self._births.values():
                birth.fails(failure)

    def _moved(self, below: Stack, written: frozenset[str]) -> Stack:
        fresh = written | self._order.renewed
        return below.topped({key: self._new if key in fresh else layer for key, layer in self._upper.items()})

    def take(self) -> Move | None:
        """The parent goes on there."""
        self._taken = True
        return self.parent.result()

    def release(self) -> None:
        """All is dealt out, or given up. What nobody has taken is removed. Idempotent."""
        if not self._taken and self.parent.done() and self.parent.exception() is None:
            move = self.parent.result()
            if move is not None:
                os.close(move.root)
        self._jail.files.give_up(self, *(() if self._taken else (self._new,)))
        self._taken = True


def _work(plan: JailPlan, order: ForkOrder) -> inside.Work:
    return lambda tell, host: Branching(plan, tell, host).fork(order)


def because(error: OSError) -> PodflareError:
    """Why files could not be made, for the user. To try again helps only where the sandbox need not be changed."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return ConflictError(FULL_DISK)
    reason = "it took too long" if isinstance(error, TimeoutError) else error.strerror or str(error)
    return NoCapacityError(f"The files of the fork could not be made: {reason}.")
