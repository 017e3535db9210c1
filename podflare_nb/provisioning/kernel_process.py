"""A process in a jail as the supervisor holds it: by a pidfd, so that a signal never goes to another one."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from typing import Self

from .jail import syscalls as sc
from .waiting import exit_status, readable, reap


class KernelProcess:
    """A live process. ``ended`` gives its wait status, None if that cannot be known."""

    def __init__(self, pid: int, pidfd: int, status: Awaitable[int | None]) -> None:
        self.pid = pid
        self._pidfd = pidfd
        self.ended: asyncio.Task[int | None] = asyncio.create_task(self._watch(status))

    def __repr__(self) -> str:
        return f"<KernelProcess {self.pid} {'ended' if self.ended.done() else 'alive'}>"

    @classmethod
    def of_template(cls, pid: int, told: Awaitable[int | None]) -> Self:
        """A child of a template, which tells how it ended, or ends before and leaves it to us. Raises OSError.

        It may have ended since it said that it serves, and its template have reaped it: then it is one that has ended.
        """
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return cls(pid, -1, told)
        return cls(pid, pidfd, _told_or_reaped(pid, pidfd, told))

    @classmethod
    def of_jail(cls, pid: int) -> Self:
        """A child of a jail's pid 1, which tells nobody. Raises OSError."""
        pidfd = os.pidfd_open(pid)
        return cls(pid, pidfd, exit_status(pidfd))

    async def _watch(self, status: Awaitable[int | None]) -> int | None:
        try:
            return await status
        finally:
            if self._pidfd >= 0:
                os.close(self._pidfd)
                self._pidfd = -1

    def signal(self, signum: int) -> None:
        """Signal it; nothing if it has ended. An interrupt goes to its process group, as a terminal's would:
        ``os.system`` ignores it for itself and leaves it to its child."""
        if self._pidfd < 0:
            return
        with suppress(ProcessLookupError):
            try:
                sc.pidfd_send_signal(
                    self._pidfd, signum, sc.PIDFD_SIGNAL_PROCESS_GROUP if signum == signal.SIGINT else 0
                )
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                sc.pidfd_send_signal(self._pidfd, signum)  # before Linux 6.9

    async def kill(self) -> None:
        """End it, and wait for that."""
        self.signal(signal.SIGKILL)
        await asyncio.wait({self.ended})

    def sacrifice(self, score: int) -> None:
        """How soon it goes when memory is short (proc_pid_oom_score_adj(5))."""
        with suppress(OSError):  # it has ended
            Path(f"/proc/{self.pid}/oom_score_adj").write_text(str(score))


async def _told_or_reaped(pid: int, pidfd: int, told: Awaitable[int | None]) -> int | None:
    await readable(pidfd)
    status = await told
    return await reap(pid, pidfd) if status is None else status
