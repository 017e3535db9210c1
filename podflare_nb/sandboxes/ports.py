"""The ports of one sandbox: what listens there, connections to it, and who may have how many of them.

The network is the family's: what a branch serves, its forks list and reach, too. Below: the kernel's handle, which
makes sockets inside of the network; above: the proxy in ``handlers``.
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..errors import NoAnswerError, NoCapacityError, NotFoundError, UnreachableError
from ..provisioning.handle import KernelHandle
from ..provisioning.listening import Listener
from .port_links import Pass, PortLinks

CONNECT_SECONDS = 5.0
MOST_CONNECTIONS = 128
MOST_BY_LINK = 96
"""So that strangers leave some to the owner."""
REACHED = {"127.0.0.1": 0, "0.0.0.0": 1, "::1": 2, "::": 3}  # noqa: S104 - recognised here, not bound
"""Addresses that listen to connections to this machine itself, the likeliest first."""
NOT_THERE = frozenset({errno.ECONNREFUSED, errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.EHOSTUNREACH})


@dataclass(eq=False, slots=True)
class _Connection:
    allows: Pass
    close: Callable[[], None]


class Ports:
    """``handle`` gives the kernel that the sandbox has now; ``clock``: seconds since the epoch."""

    def __init__(self, handle: Callable[[], KernelHandle], clock: Callable[[], float]) -> None:
        self._handle, self._clock = handle, clock
        self.links = PortLinks(clock)
        self._connections: set[_Connection] = set()

    def __repr__(self) -> str:
        return f"<Ports connections={len(self._connections)}>"

    async def listening(self) -> list[Listener]:
        """One for each port, at the address by which it can be reached if there is one."""
        best: dict[int, Listener] = {}
        for listener in await self._handle().listening():
            known = best.get(listener.port)
            if known is None or _distance(listener) < _distance(known):
                best[listener.port] = listener
        return list(best.values())

    async def connect(self, port: int) -> socket.socket:
        """A connection to what listens. Raises UnreachableError, NoAnswerError, NoCapacityError, ConflictError."""
        sock = await self._connect(socket.AF_INET, "127.0.0.1", port)
        if sock is not None:
            return sock
        found = [each for each in await self._handle().listening() if each.port == port]
        if any(each.address in {"::1", "::"} for each in found):
            sock = await self._connect(socket.AF_INET6, "::1", port)
        if sock is not None:
            return sock
        if found and not any(each.address in REACHED for each in found):
            raise UnreachableError(
                f"What listens on port {port} in this sandbox does so at {found[0].address} alone; "
                "let it listen at 127.0.0.1 or 0.0.0.0."
            )
        raise UnreachableError(
            f"Nothing listens on port {port} in this sandbox; start a server, e.g. python -m http.server {port}"
        )

    async def _connect(self, family: socket.AddressFamily, address: str, port: int) -> socket.socket | None:
        """None if nothing listens."""
        try:
            sock = await self._handle().dial(family)
        except NotFoundError:
            raise NoCapacityError("The sandbox's kernel is just being replaced. Try again.", retry_after=1) from None
        sock.settimeout(0)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.get_running_loop().sock_connect(sock, (address, port))
        except BaseException as error:
            sock.close()
            if isinstance(error, TimeoutError):
                raise NoAnswerError(
                    f"What listens on port {port} in this sandbox takes no connections: it has too many already."
                ) from None
            if isinstance(error, OSError) and error.errno in NOT_THERE:
                return None
            raise
        return sock

    @contextmanager
    def place(self, allows: Pass, close: Callable[[], None]) -> Iterator[None]:
        """A place for one connection; ``close`` is called when what allowed it is over. Raises NoCapacityError."""
        by_link = sum(each.allows.by_link for each in self._connections)
        if len(self._connections) >= MOST_CONNECTIONS or (allows.by_link and by_link >= MOST_BY_LINK):
            raise NoCapacityError(
                f"There are {len(self._connections)} connections to ports of this sandbox, which is as many as there "
                "may be. Close some pages of it, and try again.",
                retry_after=1,
            )
        connection = _Connection(allows, close)
        self._connections.add(connection)
        ending = None
        if allows.ends_at is not None:
            ending = asyncio.get_running_loop().call_later(allows.ends_at - self._clock(), close)
        try:
            yield
        finally:
            self._connections.discard(connection)
            if ending is not None:
                ending.cancel()

    def revoke(self, port: int) -> None:
        """End all links of a port, with what goes on by them."""
        self.links.revoke(port)
        for each in list(self._connections):
            if each.allows.by_link and each.allows.port == port:
                each.close()


def _distance(listener: Listener) -> int:
    return REACHED.get(listener.address, len(REACHED))
