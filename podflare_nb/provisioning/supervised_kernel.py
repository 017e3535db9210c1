"""A kernel as the supervisor holds it: a process in a branch, its sockets, its orders, its end."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ..errors import ConflictError, NoCapacityError, NotFoundError
from ..protocol.egress import Egress
from . import datagrams
from .branches import Branch
from .kernel_exit import KernelExit, classify
from .kernel_process import KernelProcess
from .kernel_sockets import KernelSockets
from .kernel_start import Start, heard, spawn
from .limits import Limits
from .network.sandbox_network import PROXY_ENVIRONMENT
from .orders import Orders
from .supervised_terminal import SupervisedTerminal
from .templates import Template, TemplateLostError


class SupervisedKernel:
    """One kernel. ``start`` or ``wake`` it; ``exited`` resolves at its process's end; ``kill`` ends it and its branch.

    Without a branch (``--isolation none``) it runs in ``home`` as the user who runs the service.
    """

    def __init__(
        self, template: Template, branch: Branch | None, sockets: KernelSockets, home: Path | None = None
    ) -> None:
        self.kernel_id = secrets.token_hex(16)
        self.template = template
        self.branch = branch
        self.sockets = sockets
        self.exited: asyncio.Future[KernelExit] = asyncio.get_running_loop().create_future()
        self.process: KernelProcess | None = None
        self.orders: Orders | None = None
        self._home = home
        self.env: Mapping[str, str] = {}
        self.terminals: set[SupervisedTerminal] = set()
        """Those that live; they end with it."""
        self._ended_by_us = False
        self._oom_kills_before = branch.group.oom_kills() if branch else 0
        self._watcher: asyncio.Task[None] | None = None
        self._killing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<SupervisedKernel {self.kernel_id} {self.template.spec.name} {self.process!r}>"

    @property
    def limits(self) -> Limits:
        """What its sandbox may use."""
        return self.branch.limits if self.branch else self.template.spec.limits

    @property
    def family(self) -> str:
        """Whose forks and whose fork it is; its own id if it can have none."""
        return self.branch.jail.family if self.branch else self.kernel_id

    def successor(self, template: Template) -> SupervisedKernel:
        """A kernel to start in the place of this one, once ended: same branch and environment; same sockets' paths and
        key, so that clients reconnect by themselves."""
        sockets = KernelSockets(self.sockets.directory, self.sockets.key)
        kernel = SupervisedKernel(template, self.branch, sockets, self._home)
        kernel.env = self.env
        return kernel

    async def start(self, env: Mapping[str, str] | None = None) -> None:
        """Fork it from the template and wait until it serves. ``env``: what it has beyond its template's environment.

        Raises TemplateLostError, after which its branch serves for another attempt; NoCapacityError, after which that
        has ended.
        """
        self.env = self.env if env is None else env
        try:
            self.orders, process = await spawn(self.kernel_id, self.as_start())
            self._lives(process)
            if self.branch:
                self.branch.jail.claim(process.pid)
        except TemplateLostError:
            await self.end_process()
            raise
        except BaseException:
            await self.kill()
            raise

    def as_start(self) -> Start:
        """What it is forked into; terminals begin with the same surroundings."""
        return Start(self.template, self.branch, self.sockets, self._home, self.env)

    def rise(self, orders: Orders) -> None:
        """Let a sleeping child, or one that is to be, have what it needs before its files. ``wake`` it then.

        Raises NotFoundError, NoCapacityError or OSError; whoever called then kills it.
        """
        assert self.branch is not None  # noqa: S101 - only a jail's kernels are forked
        self.orders = orders
        fds = self.sockets.listen()
        try:
            fds += self.branch.group.cgroup.open_to_join()
            orders.send({"op": "rise", "key": self.sockets.key}, fds)
        finally:
            for fd in fds:
                os.close(fd)

    async def wake(self, process: KernelProcess) -> datagrams.Datagram:
        """Let a child that has its files be this kernel, and wait until it serves; what it says then. Raises as
        ``rise``."""
        assert self.branch is not None  # noqa: S101 - as above
        assert self.orders is not None  # noqa: S101 - it has risen
        self._lives(process)
        self.orders.send({"op": "serve"}, [self.branch.root])
        up = await heard("up", self.orders)
        self.change_environment()  # what it slept with may be out of date
        return up

    def _lives(self, process: KernelProcess) -> None:
        self.process = process
        self._watcher = asyncio.create_task(self._watch(process))
        if self.branch:
            self.branch.jail.kernels.add(self)

    async def _watch(self, process: KernelProcess) -> None:
        status = await process.ended
        if self.branch:
            self.branch.jail.disclaim(process.pid)
            self.branch.jail.kernels.discard(self)
        oom_kills = self.branch.group.oom_kills() - self._oom_kills_before if self.branch else 0
        memory = self.limits.memory_mib if self.branch else None
        self.exited.set_result(classify(status, oom_kills=oom_kills, ended_by_us=self._ended_by_us, memory_mib=memory))

    async def set_egress(self, egress: Egress) -> None:
        """Let its family reach this. Raises ConflictError without a jail, NoCapacityError."""
        networking = self.branch.jail.networking if self.branch else None
        if networking is None:
            raise ConflictError("Without a jail a kernel has the host's network, and no other.")
        networking.set_egress(egress)
        for kernel in self.branch.jail.kernels if self.branch else ():
            kernel.change_environment()

    def change_environment(self) -> None:
        """Let the kernel know how its network is to be used now; what its user set stays."""
        networking = self.branch.jail.networking if self.branch else None
        if networking is None or self.orders is None:
            return
        values = {name: value for name, value in networking.environment.items() if name not in self.env}
        gone = [name for name in PROXY_ENVIRONMENT if name not in values and name not in self.env]
        with suppress(NotFoundError, NoCapacityError):  # it ends
            self.orders.send({"op": "environment", "set": values, "unset": gone})

    def open_workspace(self) -> int:
        """A new descriptor of its working directory. Raises OSError."""
        if self.branch is not None:
            return self.branch.open_workspace()
        assert self._home is not None  # noqa: S101 - without a branch
        return os.open(self._home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def send_signal(self, signum: int) -> None:
        """Signal the kernel process; nothing if it has ended."""
        if self.process is not None:
            self.process.signal(signum)

    async def end_process(self) -> None:
        """End the kernel and all that it started, but keep the branch: its files are for the next kernel."""
        self._ended_by_us = True
        await asyncio.gather(*(terminal.end_with_kernel() for terminal in self.terminals))
        if self.process is not None:
            await self.process.kill()
        if self._watcher is not None:
            await self._watcher
        if self.branch:
            await self.branch.group.kill()
        if self.orders is not None:
            self.orders.close()
            self.orders = None
        self.sockets.remove()

    async def kill(self) -> None:
        """End it, its branch and everything that it held. Idempotent; concurrent calls wait for the one end."""
        if self._killing is None:
            self._killing = asyncio.ensure_future(self._kill())
        await asyncio.shield(self._killing)

    async def _kill(self) -> None:
        self._ended_by_us = True
        if self.branch:
            # Linux reaps a jail only when its processes are reaped: ours, the kernel, while pid 1 is on its way out.
            ending = asyncio.ensure_future(self.branch.end())
            await self.end_process()
            await ending
        else:
            await self.end_process()
            if self._home is not None:
                shutil.rmtree(self._home, ignore_errors=True)
        if not self.exited.done():
            self.exited.set_result(KernelExit("closed", "The kernel was ended by the service."))
