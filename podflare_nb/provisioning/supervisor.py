"""The supervisor: the one process that has power over namespaces, and that knows no secret of the service.

It is started by the service (or by a Jupyter process that finds none running) on one end of a socket pair, gets its
configuration there, and serves that end and everybody of the same user who connects to ``<runtime>/supervisor.sock``.
A kernel belongs to the connection that took it and ends with it; when its starter's connection closes, however that
came about, the supervisor ends everything and itself. What is left by a supervisor that was killed is swept by the
next: its kernels died with it (see ``jail.build``), directories and control groups are found by their locks.

What it can be asked for is in ``requests``; how it is asked, in ``connection``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import secrets
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import IsolationError, PodflareError
from . import claimed_directory, datagrams, pages
from .claimed_directory import ClaimedDirectory
from .connection import Connection
from .errands import all_reaped
from .factory import KernelFactory
from .jail import layers, seccomp
from .jail import syscalls as sc
from .jail.cgroups import CgroupTree
from .jail.disk import DiskStore
from .jail.user_namespace import IdSlots
from .jails import JailWorkshop
from .kernelspec import TemplateSpec
from .network.config import NetworkConfig
from .network.networks import Networks
from .supervisor_socket import SOCKET
from .template_environments import TemplateEnvironments

PREFIX = "s-"
"""What the names of all supervisors' directories begin with."""
SO_PEERCRED_SIZE = 12
MAX_SOCKET_PATH = 107
"""Bytes (unix(7)); the kernels' sockets have shorter names than ours."""
_OTHERWISE = {
    "runtime": "Name another directory for sockets with PODFLARE_NB_RUNTIME_DIR.",
    "work": "Sandboxes' disks go there: make it a directory of yours.",
}
"""What to do about a base directory that cannot be used, by its kind."""


class Supervisor:
    """Everything together; ``run`` is its life."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.isolation: str = config["isolation"]
        self._without = tuple(config.get("without", ()))
        self._name = f"{PREFIX}{secrets.token_hex(4)}"
        self._bases = {"runtime": Path(config["runtime"]), "work": Path(config["work"])}
        self._caches = Path(config["caches"])
        self._claimed: dict[str, ClaimedDirectory] = {}
        self._specs = {spec["name"]: TemplateSpec.from_json(spec) for spec in config["templates"]}
        self._network = NetworkConfig.from_json(config["network"])
        self._networks: Networks | None = None
        self._environments: TemplateEnvironments | None = None
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
            if self._networks is not None:
                self._networks.start()
            listener = self._listen()
            await self.factory.start()
            pages.lay_out()  # each jail and each fork of a kernel takes a fork of this process
        except (OSError, PodflareError) as error:
            with suppress(datagrams.PeerClosedError):
                datagrams.send(starter, {"event": "failed", "error": str(error)})
            await self._clean_up()
            return
        try:
            datagrams.send(
                starter, {"event": "ready", "socket": str(self.runtime / SOCKET), "no_internet": self._no_internet()}
            )
        except datagrams.PeerClosedError:
            stop.set()  # who started it has gone meanwhile
        asyncio.get_running_loop().add_reader(listener.fileno(), self._accept, listener)
        ended = asyncio.create_task(Connection(starter, self.factory).serve())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        asyncio.get_running_loop().remove_reader(listener.fileno())
        listener.close()
        for task in (ended, stopped, *self._connections):
            task.cancel()
        await asyncio.gather(ended, stopped, *self._connections, return_exceptions=True)
        await self.factory.close()
        await all_reaped()
        await self._clean_up()

    def _prepare(self) -> None:
        sc.set_child_subreaper()
        for kind, base in self._bases.items():
            _make_base(base, _OTHERWISE[kind])
        CgroupTree.sweep()
        for kind, base in self._bases.items():
            claimed_directory.sweep(base, PREFIX)
            self._claimed[kind] = ClaimedDirectory(base, self._name)
        workshop = self._workshop() if self.isolation == "namespaces" else None
        self._environments = TemplateEnvironments(self._bases["work"] / "templates", self._networks)
        self.factory = KernelFactory(self._specs, self.runtime, workshop, self._environments, self._caches)

    @property
    def runtime(self) -> Path:
        """Our directory for sockets."""
        return self._claimed["runtime"].path

    def _workshop(self) -> JailWorkshop:
        layers.require(layers.probe())
        seccomp.program()  # once, for every process that is forked from this one
        self._cgroups = CgroupTree.open(f"podflare_nb-{self._name}")
        # Beside the disks, not the sockets: services that share no sockets must not share ids on one disk either.
        self._ids = IdSlots(self._bases["work"] / "ids")
        work = self._claimed["work"].path
        (work / "disks").mkdir()
        (work / "root").mkdir()
        uids = self._ids.take(), self._ids.take()
        self._networks = Networks(self._network, self._name, work, uids=uids, without=self._without)
        return JailWorkshop(
            mount_point=work / "root", skeletons=work, disks=DiskStore(work / "disks"), ids=self._ids,
            cgroups=self._cgroups, networks=self._networks, without=self._without,
        )  # fmt: skip

    def _no_internet(self) -> str:
        """A sentence why sandboxes cannot have the public internet; empty if they can."""
        if self._networks is None or self._networks.router is not None:
            return ""
        return self._networks.why_no_internet()

    def _listen(self) -> socket.socket:
        path = os.fsencode(self.runtime / SOCKET)
        if len(path) > MAX_SOCKET_PATH:
            raise IsolationError(
                f"{self._bases['runtime']} is too long: a socket's path has at most {MAX_SOCKET_PATH} bytes. "
                f"{_OTHERWISE['runtime']}"
            )
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        listener.bind(path)
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
        task = asyncio.create_task(Connection(sock, self.factory).serve())
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _clean_up(self) -> None:
        if self._networks is not None:
            await self._networks.close()
        if self._environments is not None:
            self._environments.close()
        if self._cgroups is not None:
            self._cgroups.remove()
        if self._ids is not None:
            self._ids.close()
        for directory in self._claimed.values():
            directory.remove()


def _make_base(base: Path, otherwise: str) -> None:
    """Make a directory of ours, or take the one that is there. Raises IsolationError."""
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        owners = {base.lstat().st_uid, base.stat().st_uid}  # a link that somebody else put there leads anywhere
    except OSError as error:
        raise IsolationError(f"{base} cannot be used: {error.strerror}. {otherwise}") from error
    if owners != {os.getuid()}:
        raise IsolationError(f"{base} belongs to somebody else. {otherwise}")


def main() -> None:
    """Serve on the descriptor named in ``argv[1]``, whose first datagram is the configuration."""
    logging.basicConfig(format="podflare-nb supervisor: %(message)s", level=logging.WARNING)
    sc.set_name("podflare-super")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a jail needs about a dozen
    os.umask(0o022)  # what is composed must be readable inside, whatever the starter's umask
    starter = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(starter.fileno(), False)  # noqa: FBT003 - positional only
    with suppress(datagrams.PeerClosedError):
        config = datagrams.receive(starter).body
        asyncio.run(Supervisor(config).run(starter))


if __name__ == "__main__":
    main()
