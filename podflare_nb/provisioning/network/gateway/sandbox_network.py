"""What the gateway holds of one sandbox's network: its policy, who is connected, and what it may take of the whole."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ....protocol.egress import Address, Egress
from ..addresses import Reach
from ..records import ConnectionRecord, Protocol, Records, Verdict
from .pipes import Pipes
from .policy import Policy, RefusedError
from .resolver import Asker, ResolverThreads

RECEIVE_BYTES = 256 * 1024
DESCRIPTORS_FOR_ALL = 1_000
DESCRIPTORS_EACH = 7
"""Of a connection: two sockets, one to notice that the client left and, while bytes are stuck in both directions, two
pipes."""


@dataclass
class Capacity:
    """Connections of all sandboxes together. A sandbox may have as many as are still free, and at most ``each``: so
    one that takes all it can leaves half of them, two leave a third, and a newcomer always finds a place."""

    descriptors: int
    each: int
    used: int = 0

    @property
    def free(self) -> int:
        """How many more there can be."""
        return max(0, (self.descriptors - DESCRIPTORS_FOR_ALL) // DESCRIPTORS_EACH - self.used)

    def admits(self, count: int) -> bool:
        """Whether a sandbox that has ``count`` connections may have another."""
        return count < min(self.each, self.free)


@dataclass(frozen=True)
class Surroundings:
    """What all networks share."""

    reach: Reach
    resolver: ResolverThreads
    pipes: Pipes
    records: Records
    capacity: Capacity


@dataclass(eq=False)
class _Link:
    """A task that is connected to a host on the policy's word."""

    host: str | Address
    port: int
    task: asyncio.Task[None]


@dataclass(eq=False)
class SandboxNetwork:
    """One network. ``asker``: its share of the resolver."""

    id: str
    egress: Egress
    around: Surroundings
    asker: Asker = field(default_factory=Asker)
    connections: int = 0
    _links: set[_Link] = field(default_factory=set)

    @property
    def policy(self) -> Policy:
        """The policy as it is now."""
        return Policy(self.egress, self.around.reach)

    def change(self, egress: Egress) -> None:
        """A new policy: what it does not allow ends now."""
        self.egress = egress
        for link in list(self._links):
            if not self.policy.still_allows(link.host, link.port):
                link.task.cancel()

    @contextmanager
    def linked(self, host: str | Address, port: int) -> Iterator[None]:
        """While the current task is connected there. Raises RefusedError if that is not allowed (any more)."""
        self.policy.check(host, port)
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a link belongs to a task")
        link = _Link(host, port, task)
        self._links.add(link)
        try:
            yield
        finally:
            self._links.discard(link)

    async def addresses(self, host: str | Address, port: int) -> list[Address]:
        """Where a connection to that may go, resolved now. Raises RefusedError, UnresolvedError."""
        self.policy.check(host, port)
        if not isinstance(host, str):
            return [host]
        found = await self.around.resolver.addresses(self.asker, host)
        return self.policy.chosen(host, port, found)

    def refused(self, protocol: Protocol, host: str, port: int, error: RefusedError) -> None:
        """Tell of a refusal."""
        self.around.records.add(ConnectionRecord(self.id, "refused", protocol, host, port, reason=error.reason))

    async def told(self) -> None:
        """Wait until what was refused is known to who reads of it: before it is said inside, and not long."""
        await self.around.records.delivered()


class Origin:
    """A connection to a host outside. ``close`` tells of it."""

    def __init__(self, network: SandboxNetwork, sock: socket.socket, host: str | Address, port: int) -> None:
        self.sock = sock
        self.host = host
        self.port = port
        self.protocol: Protocol = "tcp"
        self.reason = ""
        self.sent = 0
        self.received = 0
        self._network = network
        self._told = False

    def count_sent(self, count: int) -> None:
        """So many bytes went out."""
        self.sent += count
        self._network.around.records.add_traffic(self._network.id, count, 0)

    def count_received(self, count: int) -> None:
        """So many bytes came in."""
        self.received += count
        self._network.around.records.add_traffic(self._network.id, 0, count)

    async def send(self, data: bytes) -> None:
        """Send all of it. Raises OSError."""
        self.count_sent(len(data))
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def receive(self) -> bytes:
        """Some bytes; none at the end. Raises OSError."""
        data = await asyncio.get_running_loop().sock_recv(self.sock, RECEIVE_BYTES)
        self.count_received(len(data))
        return data

    def close(self) -> None:
        """Close it and tell of it. Idempotent."""
        self.sock.close()
        if self._told:
            return
        self._told = True
        verdict: Verdict = "refused" if self.reason else "allowed"
        self._network.around.records.add(
            ConnectionRecord(self._network.id, verdict, self.protocol, str(self.host), self.port, self.sent,
                             self.received, self.reason)
        )  # fmt: skip
