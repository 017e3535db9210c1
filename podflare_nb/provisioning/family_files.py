"""The files of a family of branches: who needs which layers, and the chores that keep the disk tidy and its stacks low.

Chores run in the background, in helpers that may be killed: nobody waits for them, and what one leaves behind goes with
the jail. Below: ``layer_book`` decides, ``jail.branching`` and ``jail.frozen_layers`` do; above: ``jails``.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Coroutine, Hashable
from typing import Any

from .errands import Errand
from .jail import branching, frozen_layers, inside
from .jail.plan import Stack
from .layer_book import LayerBook, Merge

log = logging.getLogger(__name__)
TIDY_AFTER_SECONDS = 0.2
"""A moment's quiet before what ended branches left is removed."""
TIDY_SECONDS = 300.0
MERGE_SECONDS = 120.0


class FamilyFiles:
    """Layers and roots of one jail. ``errand`` does work in its mount namespace."""

    def __init__(self, errand: Callable[[inside.Work], Errand]) -> None:
        self._errand = errand
        self._book = LayerBook()
        self._left: list[str] = []
        self._merging = False
        self._tidying = False
        self._closed = False
        self._chores: set[asyncio.Task[None]] = set()
        self.new_name = self._book.new_name
        self.compact = self._book.compact
        self.hold = self._book.hold

    def __repr__(self) -> str:
        return f"<FamilyFiles {self._book!r} chores={len(self._chores)}>"

    def give_up(self, holder: Hashable, *branches: str) -> None:
        """``holder`` has ended. These roots are removed soon, and every layer that nobody needs any more."""
        self._book.release(holder)
        self.clear_away(*branches)

    def clear_away(self, *branches: str) -> None:
        """Remove these roots soon, and every layer that nobody needs any more."""
        self._left += branches
        if not self._tidying and not self._closed:
            self._tidying = True
            self._later(self._tidy())

    def keep_low(self, stack: Stack) -> None:
        """Merge layers of a stack, if they have become many; whoever has them mounted keeps them as they are."""
        merge = None if self._merging or self._closed else self._book.next_merge(stack)
        if merge is not None:
            self._merging = True
            self._book.hold(merge, Stack({}, {merge.key: merge.run}))
            self._later(self._merge(merge))

    def _later(self, chore: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(chore)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    async def _tidy(self) -> None:
        await asyncio.sleep(TIDY_AFTER_SECONDS)
        self._tidying = False
        branches, self._left = self._left, []
        layers = self._book.take_unneeded()
        if not branches and not layers:
            return
        try:
            async with (
                asyncio.timeout(TIDY_SECONDS),
                self._errand(lambda _tell, _host: branching.discard(branches, layers)) as errand,
            ):
                async for told in errand:
                    told.close_fds()
        except ProcessLookupError:
            return  # the jail has ended: all of it goes with its disk
        except OSError as error:
            log.warning("What ended branches left could not be removed: %s", error)

    async def _merge(self, merge: Merge) -> None:
        try:
            async with asyncio.timeout(MERGE_SECONDS), self._errand(_merging(merge)) as errand:
                async for told in errand:
                    told.close_fds()
                    if "refused" in told.body:
                        self._book.refused(merge, told.body["refused"])
                        return
            self._book.merged(merge)
        except OSError as error:
            self._book.refused(merge, None)
            # The first is for the sandbox's user to know, who will be told by a write; the second is the jail's end.
            if error.errno not in {errno.ENOSPC, errno.ESRCH}:
                log.warning("Layers could not be merged: %s", error)
        finally:
            self._book.release(merge)
            self._merging = False
            self.clear_away()

    async def close(self) -> None:
        """Drop all chores: what they are about goes with the jail."""
        self._closed = True
        for chore in list(self._chores):
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)


def _merging(merge: Merge) -> inside.Work:
    def work(tell: inside.Tell, _host: int) -> None:
        try:
            frozen_layers.merge(merge.run, merge.target, merge.key)
        except frozen_layers.NotMergeableError as error:
            tell({"refused": error.age}, ())

    return work
