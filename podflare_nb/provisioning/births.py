"""One child of a fork on its way: from a control socket without a process to a kernel that serves, or sleeps.

What a child does and what is made for it come independently: it falls asleep somewhere in its parent's control group,
its files are composed, and when both are there it is woken. Whatever fails concerns this child alone, and all that was
made for it is given back. ``live_fork`` and ``awakening`` bring children about.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import ConflictError, NoCapacityError, NotFoundError, PodflareError
from . import datagrams
from .branches import Branch
from .jail.cgroups import Cgroup
from .jail.enter import OOM_SCORE_ADJUSTMENT
from .jail.plan import WORKSPACE, Stack
from .jails import Jail
from .kernel_process import KernelProcess
from .kernel_start import heard
from .orders import Orders
from .sleeping_kernel import SleepingKernel
from .supervised_kernel import SupervisedKernel

ASLEEP_SECONDS = 25.0
GONE = "A branch ended while it was forked."
NO_WORKSPACE = f"The directory {WORKSPACE} is not there any more: make it again, then fork."


class Birth:
    """A child that is to be. ``theirs``: its end of its control socket, for whoever forks it; ``asleep`` resolves when
    it sleeps."""

    def __init__(self, jail: Jail) -> None:
        ours, self.theirs = datagrams.pair()
        self._jail = jail
        self._orders = Orders(ours)
        self._files: asyncio.Future[tuple[Stack, int]] = asyncio.get_running_loop().create_future()
        self._taken = False
        self.asleep: asyncio.Task[KernelProcess] = asyncio.create_task(self._fall_asleep())

    def has_files(self, stack: Stack, root: int = -1) -> None:
        """Its files stand; ``root``: a descriptor of its root directory. A checkpoint has none."""
        if not self._files.done():
            self._files.set_result((stack, root))
        elif root >= 0:
            os.close(root)

    def fails(self, error: PodflareError) -> None:
        """Its files could not be made, or it was not forked."""
        if not self._files.done():
            self._files.set_exception(error)
            self._files.exception()  # seen, also by nobody: a child may have failed before it came to that

    async def _fall_asleep(self) -> KernelProcess:
        told = await self._orders.hear({"asleep", "failed"}, ASLEEP_SECONDS)
        told.close_fds()
        if told.body["event"] != "asleep":
            raise NoCapacityError(f"A branch could not be forked: {str(told.body.get('error'))[:500]}")
        process = await self._claimed(told.pid)
        process.ended.add_done_callback(lambda _: self._jail.disclaim(told.pid))
        return process

    async def _claimed(self, pid: int) -> KernelProcess:
        """The process that says that it sleeps. It may have ended since: then why, if it has said so."""
        if self._jail.claim(pid):
            try:
                return KernelProcess.of_jail(pid)
            except OSError:
                self._jail.disclaim(pid)
        elif _lives(pid):
            raise NoCapacityError("Another process spoke in its place.")
        await heard("risen", self._orders)
        raise NotFoundError(GONE)

    async def _slept(self) -> KernelProcess:
        """Wait until it sleeps, or it is known that it will be nothing."""
        either: set[asyncio.Future[Any]] = {self.asleep, self._files}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not self.asleep.done():
            await asyncio.shield(self._files)
        return await asyncio.shield(self.asleep)

    async def _made(self) -> tuple[Stack, int]:
        files = await asyncio.shield(self._files)
        self._taken = True
        return files

    async def wake(self, kernel: SupervisedKernel) -> list[object]:
        """Make it that kernel, in a control group and a root of its own; its warnings. Raises PodflareError."""
        assert kernel.branch is not None  # noqa: S101 - only a jail's kernels are forked
        try:
            with suppress(NotFoundError):  # it will not be: why is known below
                kernel.rise(self._orders)  # the first that it hears, while its files are made
            process = await self._slept()
            await self._risen(kernel.branch.group.cgroup, process.pid)
            process.sacrifice(OOM_SCORE_ADJUSTMENT)
            kernel.branch.settle(*await self._made())
            _check_workspace(kernel.branch)
            answer = await kernel.wake(process)
        except OSError as error:
            raise NoCapacityError(f"It could not be made a kernel: {error.strerror or error}.") from error
        except NotFoundError:
            raise NotFoundError(GONE) from None
        warnings = answer.body.get("warnings")
        return warnings if isinstance(warnings, list) else []

    async def _risen(self, cgroup: Cgroup, pid: int) -> None:
        """It has moved itself to its group, which waits for nobody. It may do as it likes, so that is looked at."""
        await heard("risen", self._orders)
        if not cgroup.has(pid):
            await asyncio.to_thread(cgroup.attach, pid)  # it waits for Linux, some ten milliseconds

    async def lie_down(self, kernel: SleepingKernel) -> list[object]:
        """Let it sleep on as that checkpoint. Raises PodflareError."""
        process = await self._slept()
        stack, _ = await self._made()
        kernel.settle(stack)
        kernel.lies_down(process, self._orders)
        return []

    async def give_up(self) -> None:
        """It is to be nothing: end it, if there is anything to end. Idempotent."""
        self.theirs.close()
        self.asleep.cancel()
        (process,) = await asyncio.gather(self.asleep, return_exceptions=True)
        self._orders.close()
        if isinstance(process, KernelProcess):
            await process.kill()
        if not self._files.done():
            self._files.cancel()
        elif self._files.exception() is None and not self._taken and self._files.result()[1] >= 0:
            os.close(self._files.result()[1])
            self._taken = True


def _lives(pid: int) -> bool:
    """Of a zombie Linux shows no namespace any more."""
    try:
        Path(f"/proc/{pid}/ns/pid").readlink()
    except OSError:
        return False
    return True


def _check_workspace(branch: Branch) -> None:
    """Raises ConflictError if its user has removed it: nothing of a sandbox's files could be reached."""
    try:
        os.close(branch.open_workspace())
    except OSError:
        raise ConflictError(NO_WORKSPACE) from None
