"""A source of kernels without a supervisor: plain ipykernel processes, each in a directory of its own, no jail.

A fork is a new process with the plain variables of the old one and a copy of its workspace.
"""

import asyncio
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from podflare_nb.errors import ConflictError, NoCapacityError, NotFoundError
from podflare_nb.protocol.egress import OFF, Egress
from podflare_nb.provisioning.handle import FamilyNetwork, Fork, ForkWarning, Usage
from podflare_nb.provisioning.kernel_exit import KernelExit, classify
from podflare_nb.provisioning.limits import Limits
from podflare_nb.provisioning.listening import Listener
from podflare_nb.provisioning.waiting import readable

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
LAUNCHER = Path(__file__).with_name("plain_kernel.py")


class Changes:
    """Lets a test wait for what others change."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def note(self, *_) -> None:
        self._event.set()

    async def until(self, condition, seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                self._event.clear()
                await self._event.wait()


@dataclass
class Plain:
    """A kernel process before anybody took it, with its listening sockets."""

    directory: Path
    workspace: Path
    process: subprocess.Popen
    info: dict

    @classmethod
    def start(cls, workspace: Path | None = None, state: bytes | None = None) -> "Plain":
        directory = Path(tempfile.mkdtemp(prefix="pfnb-s1-", dir="/tmp"))
        if workspace is None:
            workspace = directory / "workspace"
            workspace.mkdir()
        info = {"transport": "ipc", "ip": str(directory / "k"), "key": secrets.token_hex(16)}
        info |= {f"{channel}_port": number for number, channel in enumerate(CHANNELS, 1)}
        info["signature_scheme"] = "hmac-sha256"
        sockets = [socket.socket(socket.AF_UNIX) for _ in CHANNELS]
        for number, sock in enumerate(sockets, 1):
            sock.bind(f"{info['ip']}-{number}")
            sock.listen(64)
        (directory / "connection.json").write_text(json.dumps(info))
        os.mkfifo(directory / "fork")
        if state is not None:
            (directory / "state").write_bytes(state)
        numbers = [sock.fileno() for sock in sockets]
        process = subprocess.Popen(
            [sys.executable, str(LAUNCHER), str(directory), *map(str, numbers)],
            pass_fds=numbers, cwd=workspace, stdin=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, "IPYTHONDIR": str(directory / "ipython"), "PYDEVD_DISABLE_FILE_VALIDATION": "1"},
        )  # fmt: skip
        for sock in sockets:
            sock.close()
        return cls(directory, workspace, process, info)

    def stand_still(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        # Until each thread has taken it the others go on, and may greet whoever connects.
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def stop(self) -> None:
        if self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(60)
        shutil.rmtree(self.directory, ignore_errors=True)


class Spares:
    """Keeps one kernel ahead, since a plain one takes half a second to come up."""

    def __init__(self) -> None:
        self._spare: Plain | None = None

    def take(self) -> Plain:
        spare, self._spare = self._spare or Plain.start(), None
        self._spare = Plain.start()
        return spare

    def close(self) -> None:
        if self._spare is not None:
            self._spare.stop()


async def all_of(fifo: int) -> bytes:
    """All that one writer writes."""
    content = b""
    while True:
        await readable(fifo)
        part = os.read(fifo, 1 << 16)
        if not part:
            return content
        content += part


class PlainHandle:
    """A ``KernelHandle`` of a plain kernel."""

    template = "plain"
    owner_ids = (os.getuid(), os.getgid())

    def __init__(self, plain: Plain, limits: Limits, kernels: "PlainKernels", family: str | None = None) -> None:
        self.plain, self.kernels = plain, kernels
        self.family = family or secrets.token_hex(8)
        self.network = kernels.networks.setdefault(self.family, FamilyNetwork(OFF))
        self.limits = limits
        self.kernel_id = secrets.token_hex(8)
        self.connection_info = plain.info
        self.workspace_fd = os.open(plain.workspace, os.O_RDONLY | os.O_DIRECTORY)
        self.signals: list[int] = []
        self.ended_by_us = False
        self.closed = False
        self.used_up = False
        self.ports: set[int] = set()
        """What is said to listen; the machine's own ports."""
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[KernelExit] = loop.create_future()
        self.pidfd = os.pidfd_open(plain.process.pid)
        loop.add_reader(self.pidfd, self._reap)

    async def send_signal(self, signum: int) -> None:
        self.signals.append(signum)
        if not self.exited.done():
            os.kill(self.plain.process.pid, signum)

    async def kill(self) -> None:
        assert not self.used_up, "what was used up is nobody's to kill"
        await self.end()

    async def end(self) -> None:
        if not self.exited.done():
            self.ended_by_us = True
            os.killpg(self.plain.process.pid, signal.SIGKILL)
            await asyncio.shield(self.exited)
        self.closed = True
        self.release()

    async def fork(self, n, *, wait_seconds=30.0, strict=False, asleep=False) -> Fork:
        del wait_seconds
        return await self.kernels.fork(self, n, strict=strict, asleep=asleep)

    async def variables(self, *, budget_seconds=5.0) -> dict:
        del budget_seconds
        return {"of": self.kernel_id}

    async def changes(self, other) -> dict:
        return {"of": [self.kernel_id, other.kernel_id]}

    async def listening(self) -> list[Listener]:
        return [Listener(port, "127.0.0.1", "a process") for port in sorted(self.ports)]

    async def dial(self, family) -> socket.socket:
        return socket.socket(family)

    async def state(self) -> tuple[bytes, Path]:
        """Its variables, and a copy of its workspace."""
        fifo = os.open(self.plain.directory / "fork", os.O_RDONLY | os.O_NONBLOCK)  # without waiting for who writes
        try:
            os.kill(self.plain.process.pid, signal.SIGUSR1)
            reading = asyncio.ensure_future(all_of(fifo))
            await asyncio.wait({reading, self.exited}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():  # nobody will write any more
                reading.cancel()
                await asyncio.wait({reading})
                raise NotFoundError("The kernel has ended.")
            state = reading.result()
        finally:
            os.close(fifo)
        copied = Path(tempfile.mkdtemp(prefix="pfnb-s1-", dir="/tmp")) / "workspace"
        shutil.copytree(self.plain.workspace, copied)
        return state, copied

    async def usage(self) -> Usage:
        return Usage(pids=1)

    async def set_egress(self, egress: Egress) -> None:
        if self.kernels.refuse:
            raise NoCapacityError("There is no network.")
        self.network.egress = egress

    def release(self) -> None:
        if self.workspace_fd >= 0:
            os.close(self.workspace_fd)
            self.workspace_fd = -1

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self.pidfd)
        os.close(self.pidfd)
        status = os.waitpid(self.plain.process.pid, 0)[1]
        self.plain.process.returncode = os.waitstatus_to_exitcode(status)
        self.exited.set_result(
            classify(status, oom_kills=0, ended_by_us=self.ended_by_us, memory_mib=self.limits.memory_mib)
        )


@dataclass
class PlainKernels:
    """A ``KernelSource``; ``refuse`` makes it answer that it has none."""

    spares: Spares
    handles: list[PlainHandle] = field(default_factory=list)
    refuse: bool = False
    stop_next: bool = False
    """The next kernel is stopped before anybody can speak to it."""
    warnings: list[str] = field(default_factory=list)
    """What every fork names; a strict one is refused then."""
    fail: int = 0
    """So many of the next children that are to be made cannot be."""
    sleeping: list["SleepingPlain"] = field(default_factory=list)
    forking: asyncio.Event | None = None
    """If there is one, a fork waits for it."""
    changes: Changes = field(default_factory=Changes)
    networks: dict[str, FamilyNetwork] = field(default_factory=dict)
    """By family."""

    async def acquire(self, template, *, limits=None, env=None, egress=None) -> PlainHandle:
        del template, env
        if self.refuse:
            raise NoCapacityError("There are no kernels.")
        handle = self._made(self.spares.take(), limits or Limits())
        if self.stop_next:
            self.stop_next = False
            handle.plain.stand_still()
        handle.network.egress = egress or OFF
        return handle

    async def replace(self, dead: PlainHandle) -> PlainHandle:
        if self.refuse:
            raise NoCapacityError("There are no kernels.")
        if dead.closed:
            raise NotFoundError("There is no such kernel.")
        dead.release()
        return self._made(Plain.start(dead.plain.workspace), dead.limits, dead.family)

    async def fork(self, parent: PlainHandle, n: int, *, strict: bool, asleep: bool) -> Fork:
        self.changes.note()
        if self.forking is not None:
            await self.forking.wait()
        if parent.exited.done():
            raise NotFoundError("The kernel has ended.")
        if strict and self.warnings:
            raise ConflictError("Something cannot come along.", warnings=self.warnings)
        children, failures = [], []
        for _ in range(n):
            if self.fail:
                self.fail -= 1
                failures.append("There was no room for one.")
                continue
            state, workspace = await parent.state()
            if asleep:
                children.append(SleepingPlain(self, state, workspace, parent))
                self.sleeping.append(children[-1])
            else:
                children.append(self._made(Plain.start(workspace, state), parent.limits, parent.family))
        if not children:
            raise NoCapacityError(failures[0])
        self.changes.note()
        return Fork(children, [ForkWarning("threads", text) for text in self.warnings], failures)

    async def succeed(self, predecessor: PlainHandle, successor: PlainHandle) -> PlainHandle:
        if self.refuse:
            raise NoCapacityError("The successor does not answer.")
        if predecessor.exited.done() or successor.exited.done():
            raise NotFoundError("It has ended.")
        await predecessor.end()
        # The real one keeps the predecessor's sockets and key; the service connects anew either way.
        handle = self._made(successor.plain, successor.limits, successor.family)
        loop = asyncio.get_running_loop()
        loop.remove_reader(successor.pidfd)
        os.close(successor.pidfd)
        successor.release()
        successor.exited.set_result(KernelExit("closed", "It passed on."))
        predecessor.used_up = successor.used_up = True
        return handle

    def _made(self, plain: Plain, limits: Limits, family: str | None = None) -> PlainHandle:
        handle = PlainHandle(plain, limits, self, family)
        self.handles.append(handle)
        self.changes.note()
        return handle

    async def aclose(self) -> None:
        for handle in reversed(self.handles):
            await handle.end()
            handle.plain.stop()
            shutil.rmtree(handle.plain.workspace.parent, ignore_errors=True)
        for sleeping in self.sleeping:
            await sleeping.kill()


class SleepingPlain:
    """A ``SleepingKernel``: variables and files, and no process."""

    def __init__(self, kernels: PlainKernels, state: bytes, workspace: Path, parent: PlainHandle) -> None:
        self.kernels, self.pickled, self.workspace, self.limits = kernels, state, workspace, parent.limits
        self.family, self.kernel_id = parent.family, secrets.token_hex(8)
        self.exited: asyncio.Future[KernelExit] = asyncio.get_running_loop().create_future()

    async def wake(self) -> PlainHandle:
        if self.exited.done():
            raise NotFoundError("The state has ended.")
        if self.kernels.refuse:
            raise NoCapacityError("It cannot be woken.")
        copied = Path(tempfile.mkdtemp(prefix="pfnb-s1-", dir="/tmp")) / "workspace"
        shutil.copytree(self.workspace, copied)
        return self.kernels._made(Plain.start(copied, self.pickled), self.limits, self.family)

    async def kill(self) -> None:
        shutil.rmtree(self.workspace.parent, ignore_errors=True)
        self.end(KernelExit("closed", "It was ended."))

    def end(self, ending: KernelExit) -> None:
        if not self.exited.done():
            self.exited.set_result(ending)
            self.kernels.changes.note()

    async def usage(self) -> Usage:
        return Usage(memory_bytes=len(self.pickled))
