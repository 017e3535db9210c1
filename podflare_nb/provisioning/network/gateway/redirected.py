"""Connections that a sandbox made to an address which its policy names, and which were led to us instead of there.

The sandbox has no route: what it meant is what Linux noted when it turned the connection (SO_ORIGINAL_DST). The policy
is asked as for a request to the proxy, the connection is made from outside, and carried as it is. A refusal can only be
a break: nobody has said which protocol it is.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from ipaddress import IPv4Address, IPv6Address

from ....protocol.egress import Address, unmapped
from . import dialing
from .client_connection import ClientConnection
from .dialing import UnreachableError
from .policy import RefusedError
from .relay import abort
from .sandbox_network import Origin, SandboxNetwork
from .tunnel import both_ways

SO_ORIGINAL_DST = 80
_IPV4 = struct.Struct(">2xH4s8x")
_IPV6 = struct.Struct(">2xH4x16s4x")


def destination(sock: socket.socket) -> tuple[Address, int]:
    """Where it was meant to lead. Raises OSError if it was not turned: then it was meant for us."""
    if sock.family == socket.AF_INET6:
        port, packed = _IPV6.unpack(sock.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, _IPV6.size))
        return unmapped(IPv6Address(packed)), port
    port, packed = _IPV4.unpack(sock.getsockopt(socket.IPPROTO_IP, SO_ORIGINAL_DST, _IPV4.size))
    return IPv4Address(packed), port


async def serve(network: SandboxNetwork, sock: socket.socket) -> None:
    """Carry one connection until it or the policy ends it. The socket stays the caller's to close."""
    origin: Origin | None = None
    try:
        host, port = destination(sock)
        with network.linked(host, port):
            made, _ = await dialing.connect(await network.addresses(host, port), port)
            origin = Origin(network, made, host, port)
            await both_ways(ClientConnection(sock), origin, network.around.pipes)
    except RefusedError as error:
        network.refused("tcp", str(host), port, error)
        await network.told()
        abort(sock)
    except (OSError, UnreachableError):
        abort(sock)
    except asyncio.CancelledError:
        if origin is not None:
            abort(origin.sock)
        raise
    finally:
        if origin is not None:
            origin.close()
