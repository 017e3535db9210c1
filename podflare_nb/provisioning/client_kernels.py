"""Kernels and checkpoints as the service holds them, over the connection that took them (``handle``'s protocols)."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from weakref import WeakValueDictionary

from .. import errors
from ..protocol.egress import INTERNET, Egress
from . import datagrams
from .client_terminals import HeldTerminals
from .handle import (
    FamilyNetwork,
    Fork,
    ForkWarning,
    KernelHandle,
    NetworkRecord,
    SleepingKernel,
    TerminalCommand,
    TerminalHandle,
    TerminalRefusal,
    Usage,
)
from .kernel_exit import KernelExit
from .limits import Limits
from .listening import Listener
from .supervisor_link import ENDED, LostError, SupervisorLink

Audit = Callable[[FamilyNetwork, Sequence[NetworkRecord]], None]
LINGER_SECONDS = 5.0
MAX_DOCUMENT_BYTES = 4 << 20
OTHER_FAMILY = "Only forks of one another can be compared."


class Kernel:
    """A live kernel (``handle.KernelHandle``)."""

    def __init__(self, held: HeldKernels, body: dict[str, Any], workspace_fd: int) -> None:
        self._held = held
        self.kernel_id: str = body["kernel_id"]
        self.family: str = body["family"]
        self.template: str = body["template"]
        self.limits = Limits(**body["limits"])
        self.connection_info: Mapping[str, Any] = body["connection_info"]
        self.owner_ids: tuple[int, int] = (body["owner_ids"][0], body["owner_ids"][1])
        self.pid: int = body["pid"]
        self.workspace_fd = workspace_fd
        self.network = held.network(body)
        self.exited: asyncio.Future[KernelExit] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        return f"<Kernel {self.kernel_id} {self.template} {'ended' if self.exited.done() else 'alive'}>"

    async def send_signal(self, signum: int) -> None:
        """Signal the kernel process; nothing if it has ended."""
        with suppress(errors.NotFoundError, LostError):
            await self._request("signal", signum=int(signum))

    async def kill(self) -> None:
        """End its sandbox and free all it held; returns when that is done. Idempotent."""
        self.release()
        with suppress(LostError):
            await self._request("kill")
        self.ended(KernelExit("closed", "The kernel was ended by the service."))

    async def usage(self) -> Usage:
        """Read what it uses now; all None without a jail."""
        answer, _ = await self._request("usage")
        return Usage(**answer)

    async def set_egress(self, egress: Egress) -> None:
        """See ``handle.KernelHandle``."""
        await self._request("set_egress", egress=egress.to_json())
        self.network.egress = egress

    async def fork(
        self, n: int, *, wait_seconds: float = 30.0, strict: bool = False, asleep: bool = False
    ) -> Fork:  # fmt: skip
        """See ``handle.KernelHandle``."""
        answer, fds = await self._request("fork", n=n, wait_seconds=wait_seconds, strict=strict, asleep=asleep)
        children: list[KernelHandle | SleepingKernel] = []
        for body in answer["children"]:
            if body.get("asleep"):
                children.append(self._held.adopt_asleep(body, self.limits))
            else:
                children.append(self._held.adopt(body, [fds.pop(0)]))
        return Fork(children, [ForkWarning(**warning) for warning in answer["warnings"]], answer["failures"])

    async def variables(self, *, budget_seconds: float = 5.0) -> Mapping[str, Any]:
        """See ``handle.KernelHandle``."""
        _, fds = await self._request("variables", budget_seconds=budget_seconds)
        return await asyncio.to_thread(_document, fds)

    async def open_terminal(self, command: TerminalCommand) -> TerminalHandle | TerminalRefusal:
        """See ``handle.KernelHandle``."""
        return await self._held.terminals.open(self._held.link, self.kernel_id, command)

    async def changes(self, other: KernelHandle) -> Mapping[str, Any]:
        """See ``handle.KernelHandle``."""
        if other.family != self.family:
            raise errors.ConflictError(OTHER_FAMILY)
        _, fds = await self._request("changes", other=other.kernel_id)
        return await asyncio.to_thread(_document, fds)

    async def listening(self) -> list[Listener]:
        """See ``handle.KernelHandle``."""
        answer, _ = await self._request("listening")
        return [Listener(**each) for each in answer["listeners"]]

    async def dial(self, family: socket.AddressFamily) -> socket.socket:
        """See ``handle.KernelHandle``."""
        _, fds = await self._request("dial", ipv6=family == socket.AF_INET6)
        return socket.socket(fileno=fds.pop())

    async def _request(self, op: str, **arguments: Any) -> tuple[dict[str, Any], list[int]]:
        return await self._held.link.request(op, kernel_id=self.kernel_id, **arguments)

    def moved(self, workspace_fd: int) -> None:
        """Its files are found elsewhere since it was forked. The descriptor keeps its number, whoever has noted it."""
        if self.workspace_fd >= 0:
            os.dup2(workspace_fd, self.workspace_fd, inheritable=False)
        os.close(workspace_fd)

    def release(self) -> None:
        """Close our descriptor of its workspace. Idempotent."""
        if self.workspace_fd >= 0:
            os.close(self.workspace_fd)
            self.workspace_fd = -1

    def ended(self, end: KernelExit) -> None:
        """The supervisor says that it ended."""
        if not self.exited.done():
            self._held.linger(self.network)
            self.exited.set_result(end)


class Checkpoint:
    """A sleeping kernel (``handle.SleepingKernel``)."""

    def __init__(self, held: HeldKernels, body: dict[str, Any], limits: Limits) -> None:
        self._held = held
        self.kernel_id: str = body["kernel_id"]
        self.family: str = body["family"]
        self.pid: int = body["pid"]
        self.limits = limits
        self.exited: asyncio.Future[KernelExit] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        return f"<Checkpoint {self.kernel_id} {'ended' if self.exited.done() else 'asleep'}>"

    async def wake(self) -> KernelHandle:
        """See ``handle.SleepingKernel``."""
        body, fds = await self._held.link.request("wake", kernel_id=self.kernel_id)
        return self._held.adopt(body, fds)

    async def kill(self) -> None:
        """End it. Idempotent."""
        with suppress(LostError):
            await self._held.link.request("kill", kernel_id=self.kernel_id)
        self.ended(KernelExit("closed", "The kernel was ended by the service."))

    async def usage(self) -> Usage:
        """Its own private memory."""
        answer, _ = await self._held.link.request("usage", kernel_id=self.kernel_id)
        return Usage(**answer)

    def release(self) -> None:
        """Nothing of it is held here."""

    def ended(self, end: KernelExit) -> None:
        """The supervisor says that it ended."""
        if not self.exited.done():
            self.exited.set_result(end)


class HeldKernels:
    """All that was taken over one connection, by id. ``link`` is that connection, once it is there."""

    link: SupervisorLink

    def __init__(self) -> None:
        self._kernels: dict[str, Kernel | Checkpoint] = {}
        self._networks: WeakValueDictionary[str, FamilyNetwork] = WeakValueDictionary()
        self.terminals = HeldTerminals()
        self.audit: Audit = lambda *_: None
        """Is told of every connection of every family."""

    def __len__(self) -> int:
        return len(self._kernels)

    def network(self, body: dict[str, Any]) -> FamilyNetwork:
        """What all kernels of this one's family share. Without a jail it is the host's."""
        family, egress = body["family"], body["egress"]
        network = self._networks.get(family)
        if network is None:
            network = self._networks[family] = FamilyNetwork(INTERNET if egress is None else Egress.from_json(egress))
            network.catch_up = self.link.hear_of_networks
        return network

    def adopt(self, body: dict[str, Any], fds: list[int]) -> Kernel:
        """A kernel of ours from now on."""
        kernel = Kernel(self, body, fds[0])
        self._hold(kernel)
        return kernel

    def adopt_asleep(self, body: dict[str, Any], limits: Limits) -> Checkpoint:
        """A checkpoint of ours from now on."""
        checkpoint = Checkpoint(self, body, limits)
        self._hold(checkpoint)
        return checkpoint

    def _hold(self, kernel: Kernel | Checkpoint) -> None:
        self._kernels[kernel.kernel_id] = kernel
        kernel.exited.add_done_callback(lambda _: self._kernels.pop(kernel.kernel_id, None))

    def linger(self, network: FamilyNetwork) -> None:
        """One of its kernels has ended; what its last connections were may still be told."""
        asyncio.get_running_loop().call_later(LINGER_SECONDS, lambda: network)

    def use_up(self, handle: KernelHandle, why: str) -> None:
        """It is nobody's handle any more."""
        self._kernels.pop(handle.kernel_id, None)
        if isinstance(handle, Kernel):  # that has ended, perhaps: then it is held no more, but has its descriptor
            handle.release()
            handle.ended(KernelExit("closed", why))

    def hear(self, told: datagrams.Datagram) -> None:
        """The supervisor tells of one of them."""
        body = told.body
        if body["event"] == "terminal":
            self.terminals.hear(body)
            return
        if body["event"] == "network":
            if (network := self._networks.get(body["family"])) is not None:
                self.audit(network, body["records"])
                network.hear(body["records"])
            return
        kernel = self._kernels.get(body["kernel_id"])
        if body["event"] == "exit" and kernel is not None:
            kernel.ended(KernelExit(body["cause"], body["message"], body["exit_code"], body["signal"]))
        elif body["event"] == "moved" and isinstance(kernel, Kernel):
            kernel.moved(told.fds.pop())
        told.close_fds()

    def lose(self, _: object) -> None:
        """The supervisor has ended, and all of them with it."""
        for kernel in list(self._kernels.values()):
            kernel.release()
            kernel.ended(KernelExit("killed", ENDED))
        self.terminals.lose()


def _document(fds: list[int]) -> Mapping[str, Any]:
    """A JSON object out of a file in memory, whose writer is not trusted. Raises NoCapacityError."""
    try:
        data = os.pread(fds[0], MAX_DOCUMENT_BYTES + 1, 0)
    finally:
        for fd in fds:
            os.close(fd)
    if len(data) > MAX_DOCUMENT_BYTES:
        raise errors.NoCapacityError(f"The kernel answered with more than {MAX_DOCUMENT_BYTES >> 20} MiB.")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise errors.NoCapacityError("The kernel answered with something that cannot be read.")
    return document
