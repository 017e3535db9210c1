"""A checkpoint as the supervisor holds it: a sleeping fork of a kernel, from which live ones are forked."""

from __future__ import annotations

import asyncio
import re
import secrets
import signal
from pathlib import Path

from .branches import Branch
from .handle import Usage
from .jail.plan import Stack
from .kernel_exit import KernelExit, classify
from .kernel_process import KernelProcess
from .orders import Orders
from .supervised_kernel import SupervisedKernel

OOM_SCORE_ADJUSTMENT = 1000
"""When its group is short of memory, it goes first."""
PRIVATE = re.compile(r"^Private_(?:Clean|Dirty):\s+(\d+) kB$", re.MULTILINE)


class SleepingKernel:
    """One checkpoint. It lives in the control group of the kernel that it was forked from, and outlives that."""

    def __init__(self, parent: SupervisedKernel, branch: Branch, name: str) -> None:
        """``name``: of what it keeps in the jail. ``lies_down`` makes it one."""
        self.kernel_id = secrets.token_hex(16)
        self.template = parent.template
        self.env = parent.env
        self.limits = branch.limits
        self.jail = branch.jail
        self.group = branch.group
        self.name = name
        self.stack = Stack()
        self.exited: asyncio.Future[KernelExit] = asyncio.get_running_loop().create_future()
        self.process: KernelProcess | None = None
        self.orders: Orders | None = None
        self._ended_by_us = False
        self._ending: asyncio.Task[None] | None = None
        self.jail.join(self)

    def __repr__(self) -> str:
        return f"<SleepingKernel {self.kernel_id} {self.process!r}>"

    @property
    def family(self) -> str:
        """Whose fork it is."""
        return self.jail.family

    def lies_down(self, process: KernelProcess, orders: Orders) -> None:
        """The process that is it."""
        self.process, self.orders = process, orders
        self.group.lay_down(process.pid)
        process.sacrifice(OOM_SCORE_ADJUSTMENT)
        process.ended.add_done_callback(self._ended)

    def _ended(self, ended: asyncio.Task[int | None]) -> None:
        status = None if ended.cancelled() else ended.result()
        killed = status is not None and status & 0x7F == signal.SIGKILL and not self._ended_by_us
        oom_kills = self.group.oom_kills() if killed else 0
        if oom_kills > 0:
            self.group.checkpoint_was_killed()
        if not self.exited.done():
            self.exited.set_result(
                classify(
                    status,
                    oom_kills=oom_kills,
                    ended_by_us=self._ended_by_us,
                    memory_mib=self.limits.memory_mib,
                )
            )

    def settle(self, stack: Stack) -> None:
        """Its files are these frozen layers."""
        self.stack = stack
        self.jail.files.hold(self, stack)

    async def usage(self) -> Usage:
        """Its own private memory. Read in a thread: Linux looks at every page."""
        if self.process is None or self.process.ended.done():
            return Usage()
        path = Path(f"/proc/{self.process.pid}/smaps_rollup")
        try:
            text = await asyncio.to_thread(path.read_text)
        except OSError:
            return Usage()
        return Usage(memory_bytes=1024 * sum(int(kibibytes) for kibibytes in PRIVATE.findall(text)))

    async def kill(self) -> None:
        """End it and give back what only it held. Idempotent."""
        if self._ending is None:
            self._ending = asyncio.ensure_future(self._end())
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        self._ended_by_us = True
        if self.jail.leave(self):
            await self.jail.close()
        if self.orders is not None:
            self.orders.close()
        if self.process is not None:
            await self.process.kill()
            await self.group.wake_up(self.process.pid)
        self.jail.files.give_up(self, self.name)
        if not self.exited.done():
            self.exited.set_result(KernelExit("closed", "The kernel was ended by the service."))
