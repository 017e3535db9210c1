"""A live kernel as the rest of the service sees it: connection, files, signals, forks, end.

``provisioning.client`` makes these; ``sandboxes`` holds one each. The protocol is what a stand-in in a test
must offer, too.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..protocol.egress import Egress
from .kernel_exit import KernelExit
from .limits import Limits
from .listening import Listener


@dataclass(frozen=True, slots=True)
class Usage:
    """What a sandbox uses now, read from its cgroup: ``memory_bytes``, ``cpu_seconds``, ``pids``; None: unknown.

    ``sent_bytes`` and ``received_bytes``: over the network, by its whole family since it began.
    """

    memory_bytes: int | None = None
    cpu_seconds: float | None = None
    pids: int | None = None
    sent_bytes: int | None = None
    received_bytes: int | None = None


NetworkRecord = Mapping[str, Any]
"""A connection that a sandbox made, or was refused: ``verdict`` (allowed, refused), ``protocol``, ``host``, ``port``,
``sent`` and ``received`` bytes, ``reason`` (a sentence, if refused). One with a ``count`` stands for so many: refused
by limits, or with the verdict ``untold`` those that came too fast to be told."""


class FamilyNetwork:
    """The network that all kernels of one family share. ``heard`` is told of its connections."""

    def __init__(self, egress: Egress) -> None:
        self.egress = egress
        self.label: dict[str, str] = {}
        """For the audit: which sandbox it began with, and whose."""
        self.listeners: set[Callable[[Sequence[NetworkRecord]], None]] = set()
        self.catch_up: Callable[[], None] = lambda: None
        """Hear now what was told already."""

    def __repr__(self) -> str:
        return f"<FamilyNetwork {self.egress}>"

    def hear(self, records: Sequence[NetworkRecord]) -> None:
        """Tell whoever listens."""
        for listener in list(self.listeners):
            listener(records)


@dataclass(frozen=True, slots=True)
class ForkWarning:
    """What of a kernel did not come along into its forks. ``text``: a sentence that names it.

    ``kind`` is one of threads, processes, sockets, terminals, tasks, mappings, files.
    """

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Fork:
    """What came of a fork. ``children``: those that live, KernelHandles or, asked for asleep, SleepingKernels;
    ``failures``: a sentence for each child that could not be made."""

    children: list[KernelHandle | SleepingKernel]
    warnings: list[ForkWarning]
    failures: list[str]


@dataclass(frozen=True, slots=True)
class TerminalCommand:
    """What is to run on a terminal.

    ``env``: beyond the kernel's; ``cwd``: None for the workspace; ``size``: columns and rows.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str | None
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class TerminalExit:
    """How a terminal's command ended: its exit code, or 128 and the number of its signal, None if that is not known;
    ``message`` says why it was ended, where the supervisor knows."""

    exit_code: int | None
    message: str | None


@dataclass(frozen=True, slots=True)
class TerminalRefusal:
    """Why a command could not be run, and the exit code that a shell would tell it by."""

    message: str
    exit_code: int


class TerminalHandle(Protocol):
    """A live command on a pseudo terminal in the sandbox of a kernel."""

    terminal_id: str
    master: int
    """The pseudo terminal's master, non-blocking: the holder's, who closes it. What comes from it is the sandbox's."""
    exited: asyncio.Future[TerminalExit]
    """Resolves once, at the command's end, whatever ended it; what it said may still be there to be read."""

    async def kill(self) -> None:
        """End the command and all of its session; idempotent; returns when the command has ended."""


class SleepingKernel(Protocol):
    """A checkpoint: a fork of a kernel that holds its state and does nothing. It shares the memory that neither it nor
    the kernel has written since; its files are frozen layers of its family's disk.

    It counts to the control group of the kernel that it was forked from, ends with it when the kernel's sandbox runs
    out of memory (it is the first to go then), and lives on when the kernel is killed.
    """

    kernel_id: str
    family: str
    exited: asyncio.Future[KernelExit]
    """Resolves once, at its end, whatever ended it."""

    async def wake(self) -> KernelHandle:
        """A live kernel with its state, files as they were, and a connection of its own. The sleeping one stays.

        Raises NotFoundError if it has ended, NoCapacityError if no kernel could be made of it.
        """

    async def kill(self) -> None:
        """End it and give back what only it held; idempotent; ``exited`` resolves."""

    async def usage(self) -> Usage:
        """Its own private memory; nothing else of it is known."""


class KernelHandle(Protocol):
    """One live kernel process in its jail."""

    kernel_id: str
    family: str
    """Id of its jail. Kernels of one family are forks of each other: they share namespaces and a disk, not files."""
    template: str
    network: FamilyNetwork
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

    async def set_egress(self, egress: Egress) -> None:
        """Let its whole family reach this from now on. Raises NoCapacityError, and then nothing has changed;
        ConflictError without a jail; NotFoundError if it has ended."""

    async def fork(self, n: int, *, wait_seconds: float = 30.0, strict: bool = False, asleep: bool = False) -> Fork:
        """Make ``n`` (1 to 32) kernels with this one's state and files, each with the limits that this one has.

        Waits up to ``wait_seconds`` for the running cell to end. ``strict``: make none if anything would not come
        along. ``asleep``: the children are checkpoints. Raises ConflictError if code still runs, another fork of this
        kernel is under way, or strictness forbids (details: ``{"warnings": [sentences]}``); NotFoundError if the
        kernel has ended; NoCapacityError if not one child could be made. The kernel goes on in every case.
        """

    async def variables(self, *, budget_seconds: float = 5.0) -> Mapping[str, Any]:
        """Its user's variables, as ``provisioning.kernel.variables`` tells them: untrusted, 4 MiB at most.

        Raises ConflictError while code runs.
        """

    async def open_terminal(self, command: TerminalCommand) -> TerminalHandle | TerminalRefusal:
        """Run a command on a terminal of its own in this kernel's sandbox, whatever the kernel does meanwhile.

        Raises ConflictError while a fork takes too long, NotFoundError if the kernel has ended, NoCapacityError.
        """

    async def changes(self, other: KernelHandle) -> Mapping[str, Any]:
        """The files that ``other``, of the same family, has otherwise (``provisioning.jail.overlay_changes``).

        Raises ConflictError if it is of another family or none.
        """

    async def listening(self) -> list[Listener]:
        """What listens in its network, which is its family's; what runs in another branch has no ``process``.

        Raises ConflictError without isolation, NotFoundError if the kernel has ended.
        """

    async def dial(self, family: socket.AddressFamily) -> socket.socket:
        """A TCP socket in its network, non-blocking and not yet connected. Raises as ``listening``, NoCapacityError."""


class KernelSource(Protocol):
    """Where kernels come from: the supervisor's client."""

    async def acquire(
        self,
        template: str,
        *,
        limits: Limits | None = None,
        env: Mapping[str, str] | None = None,
        egress: Egress | None = None,
    ) -> KernelHandle:
        """Take a kernel from the template's warm pool, or fork one. Raises NotFoundError, NoCapacityError.

        ``egress``: what its network may reach; None: as the template, or the operator, has it.
        """

    async def replace(self, dead: KernelHandle) -> KernelHandle:
        """A new kernel on the files of a dead one (same jail's disk and limits); the dead handle is used up."""

    async def succeed(self, predecessor: KernelHandle, successor: KernelHandle) -> KernelHandle:
        """The kernel of ``successor`` takes over the connection (key and socket paths) of ``predecessor``, whose
        process ends; limits are the successor's. Clients of the predecessor reconnect to it by themselves.

        Both handles are used up (``exited``: closed); the new one has the predecessor's ``connection_info``. Raises
        ConflictError if they are not of one family, NotFoundError if either has ended, NoCapacityError if the successor
        does not answer, which is ended then; the predecessor is as before.
        """
