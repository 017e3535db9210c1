"""A kernel process as the supervisor holds it: its pre-bound sockets, its control socket, its end."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import shutil
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import NoCapacityError
from . import datagrams
from .jail import syscalls as sc
from .jail.plan import WORKSPACE
from .jails import Jail
from .kernel_exit import KernelExit, classify
from .limits import Limits
from .templates import Template, TemplateLostError
from .waiting import readable, reap, receive

CHANNELS = {"shell": 1, "iopub": 2, "stdin": 3, "control": 4, "hb": 5}
"""Jupyter's channels and the ports under which their ipc sockets stand."""
BACKLOG = 128
UP_SECONDS = 60


class SupervisedKernel:
    """One kernel process. ``start`` it; ``exited`` resolves at its end; ``kill`` ends it and, with it, its jail.

    ``directory`` holds its sockets and is its own; only the host sees it. Without a jail (``--isolation none``) the
    kernel runs in ``home`` as the user who runs the service.
    """

    def __init__(
        self,
        template: Template,
        jail: Jail | None,
        directory: Path,
        home: Path | None = None,
        key: str | None = None,
    ) -> None:
        self.kernel_id = secrets.token_hex(16)
        self.template = template
        self.jail = jail
        self.key = key or secrets.token_hex(32)
        self.exited: asyncio.Future[KernelExit] = asyncio.get_running_loop().create_future()
        self.pid = 0
        self._directory = directory
        self._home = home
        self._pidfd = -1
        self._ctl: socket.socket | None = None
        self._ending: asyncio.Future[int | None]
        self._env: Mapping[str, str] = {}
        self._ended_by_us = False
        self._oom_kills_before = jail.cgroup.oom_kills() if jail else 0
        self._watcher: asyncio.Task[None] | None = None
        self._killing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<SupervisedKernel {self.kernel_id} {self.template.spec.name} pid={self.pid}>"

    @property
    def limits(self) -> Limits:
        """What its sandbox may use."""
        return self.jail.limits if self.jail else self.template.spec.limits

    def successor(self, template: Template) -> SupervisedKernel:
        """A kernel to start in the place of this one, once ended: same jail and environment; same sockets' paths and
        key, so that clients reconnect by themselves."""
        kernel = SupervisedKernel(template, self.jail, self._directory, self._home, self.key)
        kernel._env = self._env
        return kernel

    async def start(self, env: Mapping[str, str] | None = None) -> None:
        """Fork it from the template and wait until it serves. ``env``: what it has beyond its template's environment.

        Raises TemplateLostError, after which its jail serves for another attempt; NoCapacityError, after which the
        jail is closed.
        """
        self._env = self._env if env is None else env
        try:
            await self._start(self._env)
        except TemplateLostError:
            await self.end_process()
            raise
        except BaseException:
            await self.kill()
            raise

    async def _start(self, env: Mapping[str, str]) -> None:
        listening = self._listen()
        self._ctl, theirs = datagrams.pair()
        self._ctl.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._ctl.settimeout(0)
        rest = [self.jail.init_pidfd, self.jail.userns] if self.jail else []
        plan = self.jail.plan.to_json() if self.jail else None
        self._ending = self.template.ending(self.kernel_id)
        try:
            await self.template.spawn(self.kernel_id, plan, [*listening, theirs.fileno(), *rest])
        finally:
            theirs.close()
            for fd in listening:
                os.close(fd)
        # The key and the environment go to the child alone: what the template once read, later children could find.
        environment = {**self.template.environment, **env}
        cwd = WORKSPACE if self.jail else str(self._home)
        if not self.jail:
            environment["HOME"] = cwd
        try:
            datagrams.send(self._ctl, {"op": "serve", "key": self.key, "env": environment, "cwd": cwd})
            async with asyncio.timeout(UP_SECONDS):
                answer = await receive(self._ctl)
        except datagrams.PeerClosedError:
            status = await self._ending
            if status is None:
                raise TemplateLostError("The template ended while it was to fork.") from None
            raise NoCapacityError(f"A kernel could not be started: it ended at once (wait status {status}).") from None
        except (ValueError, TimeoutError) as error:
            raise NoCapacityError(f"A kernel could not be started: it ended before it served ({error!r}).") from error
        if answer.body.get("event") != "up" or not answer.pid:
            raise NoCapacityError(f"A kernel could not be started: {answer.body.get('error', answer.body)}")
        self.pid = answer.pid
        self._pidfd = os.pidfd_open(self.pid)
        self._watcher = asyncio.create_task(self._watch())

    def _listen(self) -> list[int]:
        """The five listening sockets, bound before the kernel exists: clients may connect and send at once."""
        self._directory.mkdir(mode=0o700)
        fds = []
        for port in CHANNELS.values():
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            sock.bind(f"{self._directory}/s-{port}")
            sock.listen(BACKLOG)
            fds.append(sock.detach())
        return fds

    def connection_info(self) -> dict[str, Any]:
        """As in a Jupyter connection file."""
        ports = {f"{channel}_port": port for channel, port in CHANNELS.items()}
        signing = {"key": self.key, "signature_scheme": "hmac-sha256"}
        return {"transport": "ipc", "ip": f"{self._directory}/s", **signing, **ports}

    def open_home(self) -> int:
        """A new descriptor of the directory that serves as workspace without a jail."""
        assert self._home is not None  # noqa: S101 - only without a jail
        return os.open(self._home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    async def _watch(self) -> None:
        await readable(self._pidfd)
        status = await self._ending
        if status is None:  # its template had ended before: it was left to us
            status = await reap(self.pid, self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        oom_kills = self.jail.cgroup.oom_kills() - self._oom_kills_before if self.jail else 0
        memory = self.limits.memory_mib if self.jail else None
        self.exited.set_result(classify(status, oom_kills=oom_kills, ended_by_us=self._ended_by_us, memory_mib=memory))

    def send_signal(self, signum: int) -> None:
        """Signal the kernel process; nothing if it has ended. An interrupt goes to its process group, as a terminal's
        would: ``os.system`` ignores it for itself and leaves it to its child."""
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

    async def end_process(self) -> None:
        """End the kernel and whatever else runs in its jail, but keep the jail: its files are for the next kernel."""
        self._ended_by_us = True
        self.send_signal(signal.SIGKILL)
        if self._watcher is not None:
            await self._watcher
        if self.jail:
            self.jail.kill_processes()
        if self._ctl is not None:
            self._ctl.close()
            self._ctl = None
        shutil.rmtree(self._directory, ignore_errors=True)

    async def kill(self) -> None:
        """End it, its jail and everything that it held. Idempotent; concurrent calls wait for the one end."""
        if self._killing is None:
            self._killing = asyncio.ensure_future(self._kill())
        await asyncio.shield(self._killing)

    async def _kill(self) -> None:
        self._ended_by_us = True
        if self.jail:
            # Linux reaps a jail only when its processes are reaped: ours, the kernel, while pid 1 is on its way out.
            closing = asyncio.ensure_future(self.jail.close())
            await self.end_process()
            await closing
        else:
            await self.end_process()
            if self._home is not None:
                shutil.rmtree(self._home, ignore_errors=True)
        if not self.exited.done():
            self.exited.set_result(KernelExit("closed", "The kernel was ended by the service."))
