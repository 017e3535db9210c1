"""A control group that several processes of ours live in: a kernel, and the checkpoints that sleep beside it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from .jail.cgroups import Cgroup

LOOK_AGAIN_SECONDS = 0.001
LOOK_AGAIN_AT_MOST_SECONDS = 0.1
BIRTH_SECONDS = 5.0
"""How long the end of a kernel waits for those that are forked of checkpoints beside it."""


class ControlGroup:
    """A group, removed when its kernel has ended and nobody sleeps in it any more."""

    def __init__(self, cgroup: Cgroup) -> None:
        self.cgroup = cgroup
        self._sleeping: set[int] = set()
        self._has_kernel = True
        self._spoken_for = 0
        self._births = 0
        self._no_births = asyncio.Event()
        self._no_births.set()

    def __repr__(self) -> str:
        return f"<ControlGroup {self.cgroup.name} sleeping={len(self._sleeping)}>"

    def lay_down(self, pid: int) -> None:
        """A checkpoint sleeps here from now on."""
        self._sleeping.add(pid)

    @contextlib.contextmanager
    def birth(self) -> Iterator[None]:
        """A checkpoint forks: the child is in this group, too, until it joins its own, and nothing that has ended."""
        self._births += 1
        self._no_births.clear()
        try:
            yield
        finally:
            self._births -= 1
            if not self._births:
                self._no_births.set()

    async def wake_up(self, pid: int) -> None:
        """It has ended."""
        self._sleeping.discard(pid)
        await self._leave()

    def oom_kills(self) -> int:
        """Out-of-memory kills that concern the kernel: those of checkpoints, which go first, are not among them."""
        return self.cgroup.oom_kills() - self._spoken_for

    def kernel_pids(self) -> set[int]:
        """Everybody's who does not sleep."""
        return self.cgroup.pids() - self._sleeping

    def checkpoint_was_killed(self) -> None:
        """Linux killed one for want of memory, as it is meant to."""
        self._spoken_for += 1

    async def kill(self) -> None:
        """End every process in it but those that sleep, and those that are forked of these just now."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BIRTH_SECONDS):
                while self._births:  # another one may have begun before this goes on
                    await self._no_births.wait()
        self.cgroup.kill(spare=self._sleeping)

    async def end(self) -> None:
        """The kernel has ended for good: with it ends what it started."""
        self._has_kernel = False
        await self.kill()
        await self._leave()

    async def _leave(self) -> None:
        """Linux lets go of a group some moments after its last process ended, and tells nobody: ask again."""
        pause = LOOK_AGAIN_SECONDS
        while not self._has_kernel and not self._sleeping and not self.cgroup.remove():
            self.cgroup.kill()  # what was on its way in when the kernel ended
            await asyncio.sleep(pause)
            pause = min(2 * pause, LOOK_AGAIN_AT_MOST_SECONDS)
