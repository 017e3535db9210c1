"""A live kernel as the rest of the service sees it: connection, files, signals, end.

``provisioning.client`` makes these; ``sandboxes`` holds one each. The protocol is what a stand-in in a test
must offer, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from .kernel_exit import KernelExit
from .limits import Limits


@dataclass(frozen=True, slots=True)
class Usage:
    """What a sandbox uses now, read from its cgroup: ``memory_bytes``, ``cpu_seconds``, ``pids``; None: unknown."""

    memory_bytes: int | None = None
    cpu_seconds: float | None = None
    pids: int | None = None


class KernelHandle(Protocol):
    """One live kernel process in its jail."""

    kernel_id: str
    template: str
    limits: Limits
    connection_info: Mapping[str, Any]
    """As in a Jupyter connection file: transport ``ipc``, ``ip`` a path prefix, the five ``*_port``, ``key`` (str).
    Socket of channel *c* is ``f"{ip}-{port}"``. The sockets exist before the kernel does: connect at once."""
    workspace_fd: int
    """Directory descriptor of the sandbox's /workspace, for ``openat2``; closed with the handle."""
    owner_ids: tuple[int, int]
    """Host uid and gid that the sandbox sees as root: what files written from outside must belong to."""
    exited: asyncio.Future[KernelExit]
    """Resolves once, at the kernel process's end, whatever ended it."""

    async def send_signal(self, signum: int) -> None:
        """Signal the kernel process (SIGINT interrupts a cell)."""

    async def kill(self) -> None:
        """End every process of the sandbox and free all it held; idempotent; ``exited`` resolves."""

    async def usage(self) -> Usage:
        """Read what it uses now."""


class KernelSource(Protocol):
    """Where kernels come from: the supervisor's client."""

    async def acquire(
        self, template: str, *, limits: Limits | None = None, env: Mapping[str, str] | None = None
    ) -> KernelHandle:
        """Take a kernel from the template's warm pool, or fork one. Raises NotFoundError, NoCapacityError."""

    async def replace(self, dead: KernelHandle) -> KernelHandle:
        """A new kernel on the files of a dead one (same jail's disk and limits); the dead handle is used up."""
