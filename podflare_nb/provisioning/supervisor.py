"""The supervisor: the one process that has power over namespaces, and that knows no secret of the service.

It is started by the service (or by a Jupyter process that finds none running) on one end of a socket pair, gets its
configuration there, and serves that end and everybody of the same user who connects to ``<runtime>/supervisor.sock``.
A kernel belongs to the connection that took it and ends with it; when its starter's connection closes, however that
came about, the supervisor ends everything and itself. What is left by a supervisor that was killed is swept by the
next: its kernels died with it (see ``jail.build``), directories and control groups are found by their locks.

Requests: ``{"id", "op", ...}`` with op of acquire, replace, signal, kill, usage, describe; answers
``{"id", "ok": {...}}`` or ``{"id", "error": {"code", "message", "details"}}``; events: ``{"event": "exit", ...}``.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import secrets
import shutil
import signal
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import ConflictError, IsolationError, NotFoundError, PodflareError
from . import datagrams
from .factory import KernelFactory
from .jail import layers
from .jail import syscalls as sc
from .jail.cgroups import CgroupTree
from .jail.disk import DiskStore
from .jail.user_namespace import IdSlots
from .jails import JailWorkshop
from .kernel_exit import KernelExit
from .kernelspec import TemplateSpec
from .limits import Limits
from .supervised_kernel import SupervisedKernel
from .supervisor_socket import SOCKET
from .waiting import receive, writable

log = logging.getLogger(__name__)

SO_PEERCRED_SIZE = 12
DESCRIPTORS = 1 << 20


class Connection:
    """One client: its requests, and the kernels that it took."""

    def __init__(self, sock: socket.socket, supervisor: Supervisor) -> None:
        sock.settimeout(0)
        self._sock = sock
        self._supervisor = supervisor
        self._kernels: dict[str, SupervisedKernel] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Answer requests until the client closes; then end its kernels."""
        try:
            while True:
                request = await receive(self._sock)
                request.close_fds()
                task = asyncio.create_task(self._answer(request.body))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        except (datagrams.PeerClosedError, ValueError):
            pass
        finally:
            await self.close()

    async def close(self) -> None:
        """End what this client holds. Idempotent."""
        pending = list(self._tasks)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        kernels, self._kernels = list(self._kernels.values()), {}
        await asyncio.gather(*(kernel.kill() for kernel in kernels))
        self._sock.close()

    async def _answer(self, request: dict[str, Any]) -> None:
        fds: list[int] = []
        answer: dict[str, Any] = {"id": request.get("id")}
        try:
            answer["ok"] = await self._do(request, fds)
        except PodflareError as error:
            answer["error"] = {"code": error.code, "message": error.message, "details": error.details}
        except Exception as error:
            log.exception("A request failed: %s", request.get("op"))
            answer["error"] = {
                "code": "no_capacity",
                "message": f"The supervisor failed: {error}",
                "details": {},
            }
        try:
            await self._send(answer, fds)
        finally:
            for fd in fds:
                os.close(fd)

    async def _send(self, body: dict[str, Any], fds: list[int]) -> None:
        while True:
            try:
                return datagrams.send(self._sock, body, fds)
            except BlockingIOError:
                await writable(self._sock.fileno())
            except (datagrams.PeerClosedError, OSError):
                return None  # the client is gone: ``serve`` sees it and ends what was made for it

    async def _do(self, request: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        factory = self._supervisor.factory
        match request.get("op"):
            case "describe":
                return {"templates": factory.describe(), "kernels": len(self._kernels)}
            case "acquire":
                limits = Limits(**request["limits"]) if request.get("limits") else None
                return self._adopt(await factory.acquire(request["template"], limits, request.get("env") or {}), fds)
            case "replace":
                dead = self._kernels.pop(request["kernel_id"], None)
                if dead is None:
                    raise NotFoundError("There is no such kernel.")
                try:
                    return self._adopt(await factory.replace(dead), fds)
                except BaseException:
                    await dead.kill()
                    raise
            case "signal":
                self._kernel(request).send_signal(request["signum"])
                return {}
            case "usage":
                jail = self._kernel(request).jail
                return asdict(jail.cgroup.usage()) if jail else {}
            case "kill":
                kernel = self._kernels.pop(request["kernel_id"], None)
                if kernel is not None:
                    await kernel.kill()
                return {}
            case other:
                raise ConflictError(f"Unknown op {other!r}.")

    def _kernel(self, request: dict[str, Any]) -> SupervisedKernel:
        try:
            return self._kernels[request["kernel_id"]]
        except KeyError:
            raise NotFoundError("There is no such kernel.") from None

    def _adopt(self, kernel: SupervisedKernel, fds: list[int]) -> dict[str, Any]:
        """The kernel is this client's; what it needs to talk to it goes with the answer."""
        self._kernels[kernel.kernel_id] = kernel
        kernel.exited.add_done_callback(lambda exited: self._tell_exit(kernel, exited.result()))
        jail = kernel.jail
        fds.append(jail.open_workspace() if jail else kernel.open_home())
        return {
            "kernel_id": kernel.kernel_id,
            "connection_info": kernel.connection_info(),
            "owner_ids": [jail.owner, jail.owner] if jail else [os.getuid(), os.getgid()],
            "limits": asdict(kernel.limits),
            "pid": kernel.pid,
        }

    def _tell_exit(self, kernel: SupervisedKernel, end: KernelExit) -> None:
        if self._sock.fileno() >= 0:
            task = asyncio.ensure_future(
                self._send({"event": "exit", "kernel_id": kernel.kernel_id, **asdict(end)}, [])
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


class Supervisor:
    """Everything together; ``run`` is its life."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.isolation: str = config["isolation"]
        self._without = tuple(config.get("without", ()))
        self._name = f"s-{secrets.token_hex(4)}"
        self._runtime_base = Path(config["runtime"])
        self._work_base = Path(config["work"])
        self.runtime = self._runtime_base / self._name
        self.work = self._work_base / self._name
        self._specs = {spec["name"]: TemplateSpec.from_json(spec) for spec in config["templates"]}
        self._lock = -1
        self._ids: IdSlots | None = None
        self._cgroups: CgroupTree | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.factory: KernelFactory

    async def run(self, starter: socket.socket) -> None:
        """Prepare, tell the starter, serve until it closes or a signal says so, then leave nothing behind."""
        stop = asyncio.Event()
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(signum, stop.set)
        try:
            self._prepare()
            await self.factory.start()
            listener = self._listen()
        except (OSError, PodflareError) as error:
            with suppress(datagrams.PeerClosedError):
                datagrams.send(starter, {"event": "failed", "error": str(error)})
            self._clean_up()
            return
        datagrams.send(starter, {"event": "ready", "socket": str(self.runtime / SOCKET)})
        asyncio.get_running_loop().add_reader(listener.fileno(), self._accept, listener)
        ended = asyncio.create_task(Connection(starter, self).serve())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        asyncio.get_running_loop().remove_reader(listener.fileno())
        listener.close()
        for task in (ended, stopped, *self._connections):
            task.cancel()
        await asyncio.gather(ended, stopped, *self._connections, return_exceptions=True)
        await self.factory.close()
        self._clean_up()

    def _prepare(self) -> None:
        sc.set_child_subreaper()
        for base in (self._runtime_base, self._work_base):
            base.mkdir(mode=0o700, parents=True, exist_ok=True)
            if base.stat().st_uid != os.getuid():
                raise IsolationError(f"{base} belongs to somebody else; name another one with --runtime-dir.")
        self._sweep()
        self.runtime.mkdir(mode=0o700)
        self.work.mkdir(mode=0o700)
        self._lock = os.open(self.runtime / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        workshop = self._workshop() if self.isolation == "namespaces" else None
        self.factory = KernelFactory(self._specs, self.runtime, workshop)

    def _workshop(self) -> JailWorkshop:
        layers.require(layers.probe())
        self._cgroups = CgroupTree.open(f"podflare_nb-{self._name}")
        self._ids = IdSlots(self._runtime_base / "ids")
        (self.work / "disks").mkdir()
        (self.work / "root").mkdir()
        return JailWorkshop(
            mount_point=self.work / "root", skeletons=self.work, disks=DiskStore(self.work / "disks"), ids=self._ids,
            cgroups=self._cgroups, without=self._without,
        )  # fmt: skip

    def _sweep(self) -> None:
        """Remove the directories of supervisors that were killed: their lock is free."""
        CgroupTree.sweep()
        for runtime in self._runtime_base.glob("s-*"):
            try:
                lock = os.open(runtime / "lock", os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # one that is just starting, or just ending
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            finally:
                os.close(lock)
            shutil.rmtree(self._work_base / runtime.name, ignore_errors=True)
            shutil.rmtree(runtime, ignore_errors=True)

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        listener.bind(str(self.runtime / SOCKET))
        listener.listen(64)
        return listener

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, SO_PEERCRED_SIZE)
        if struct.unpack("3i", credentials)[1] not in {0, os.getuid()}:
            sock.close()
            return
        task = asyncio.create_task(Connection(sock, self).serve())
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    def _clean_up(self) -> None:
        if self._cgroups is not None:
            self._cgroups.remove()
        if self._ids is not None:
            self._ids.close()
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.rmtree(self.runtime, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)


def main() -> None:
    """Serve on the descriptor named in ``argv[1]``, whose first datagram is the configuration."""
    logging.basicConfig(format="podflare-nb supervisor: %(message)s", level=logging.WARNING)
    sc.set_name("podflare-super")
    os.umask(0o022)  # what is composed must be readable inside, whatever the starter's umask
    starter = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(starter.fileno(), False)  # noqa: FBT003 - positional only
    with suppress(datagrams.PeerClosedError):
        config = datagrams.receive(starter).body
        asyncio.run(Supervisor(config).run(starter))


if __name__ == "__main__":
    main()
