"""TCP connections to addresses that the policy has let through: exactly these, nothing is resolved here."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Sequence

from ....protocol.egress import Address
from .policy import shown

CONNECT_SECONDS = 10.0
KEEPALIVE_IDLE_SECONDS = 60
KEEPALIVE_INTERVAL_SECONDS = 15
KEEPALIVE_PROBES = 4


class UnreachableError(Exception):
    """No address took the connection; the sentence says why the last one did not."""

    def __init__(self, sentence: str, *, late: bool = False) -> None:
        super().__init__(sentence)
        self.late = late


async def connect(addresses: Sequence[Address], port: int) -> tuple[socket.socket, Address]:
    """Connect to the first that takes it, tried in order, all within ``CONNECT_SECONDS``. Raises UnreachableError."""
    deadline = asyncio.get_running_loop().time() + CONNECT_SECONDS
    failure = UnreachableError("it has no address")
    for index, address in enumerate(addresses):
        left = deadline - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(left / (len(addresses) - index)):
                return await _connect(address, port), address
        except TimeoutError:
            failure = UnreachableError(f"{shown(address, port)} did not answer in time", late=True)
        except OSError as error:
            late = error.errno == errno.ETIMEDOUT
            failure = UnreachableError(f"{shown(address, port)}: {os.strerror(error.errno or 0)}", late=late)
    raise failure


async def _connect(address: Address, port: int) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        set_options(sock)
        await asyncio.get_running_loop().sock_connect(sock, (str(address), port))
    except BaseException:
        sock.close()
        raise
    return sock


def set_options(sock: socket.socket) -> None:
    """Send at once, and notice a peer that is gone: connections have no limit of idleness."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
