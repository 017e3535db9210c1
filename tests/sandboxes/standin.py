"""A source of kernels without a supervisor: plain ipykernel processes, each in a directory of its own, no jail."""

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

from podflare_nb.errors import NoCapacityError, NotFoundError
from podflare_nb.provisioning.handle import Usage
from podflare_nb.provisioning.kernel_exit import KernelExit, classify
from podflare_nb.provisioning.limits import Limits

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
    def start(cls, workspace: Path | None = None) -> "Plain":
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
        connection_file = directory / "connection.json"
        connection_file.write_text(json.dumps(info))
        numbers = [sock.fileno() for sock in sockets]
        process = subprocess.Popen(
            [sys.executable, str(LAUNCHER), str(connection_file), *map(str, numbers)],
            pass_fds=numbers, cwd=workspace, stdin=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, "IPYTHONDIR": str(directory / "ipython"), "PYDEVD_DISABLE_FILE_VALIDATION": "1"},
        )  # fmt: skip
        for sock in sockets:
            sock.close()
        return cls(directory, workspace, process, info)

    def stop(self) -> None:
        if self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
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


class PlainHandle:
    """A ``KernelHandle`` of a plain kernel."""

    template = "plain"
    owner_ids = (os.getuid(), os.getgid())

    def __init__(self, plain: Plain, limits: Limits) -> None:
        self.plain = plain
        self.limits = limits
        self.kernel_id = secrets.token_hex(8)
        self.connection_info = plain.info
        self.workspace_fd = os.open(plain.workspace, os.O_RDONLY | os.O_DIRECTORY)
        self.signals: list[int] = []
        self.ended_by_us = False
        self.closed = False
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[KernelExit] = loop.create_future()
        self._pidfd = os.pidfd_open(plain.process.pid)
        loop.add_reader(self._pidfd, self._reap)

    async def send_signal(self, signum: int) -> None:
        self.signals.append(signum)
        if not self.exited.done():
            os.kill(self.plain.process.pid, signum)

    async def kill(self) -> None:
        if not self.exited.done():
            self.ended_by_us = True
            os.killpg(self.plain.process.pid, signal.SIGKILL)
            await asyncio.shield(self.exited)
        self.closed = True
        self.release()

    async def usage(self) -> Usage:
        return Usage(pids=1)

    def release(self) -> None:
        if self.workspace_fd >= 0:
            os.close(self.workspace_fd)
            self.workspace_fd = -1

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
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
    changes: Changes = field(default_factory=Changes)

    async def acquire(self, template, *, limits=None, env=None) -> PlainHandle:
        del template, env
        if self.refuse:
            raise NoCapacityError("There are no kernels.")
        return self._made(self.spares.take(), limits or Limits())

    async def replace(self, dead: PlainHandle) -> PlainHandle:
        if self.refuse:
            raise NoCapacityError("There are no kernels.")
        if dead.closed:
            raise NotFoundError("There is no such kernel.")
        dead.release()
        return self._made(Plain.start(dead.plain.workspace), dead.limits)

    def _made(self, plain: Plain, limits: Limits) -> PlainHandle:
        handle = PlainHandle(plain, limits)
        self.handles.append(handle)
        self.changes.note()
        return handle

    async def aclose(self) -> None:
        for handle in reversed(self.handles):
            await handle.kill()
            handle.plain.stop()
