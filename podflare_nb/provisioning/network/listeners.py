"""The sockets that we serve inside each sandbox's namespace, on an address that nobody listens on by accident."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

from . import namespaces
from .netlink import ACK, NETLINK_NETFILTER, Netlink, attribute, message
from .rules import LOG_GROUP, LOGGED_BYTES, REDIRECTED, REDIRECTED_PORT

ADDRESS = "127.0.0.53"
DNS_PORT, PROXY_PORT, PACKAGES_PORT = 53, 61128, 61141
PORTS = frozenset({DNS_PORT, PROXY_PORT, PACKAGES_PORT, REDIRECTED_PORT})
BACKLOG = 512
_LOG_SUBSYSTEM, _LOG_CONFIG = 4, 1
_BIND = 1
_COPY_PACKET = 2


def dns(namespace: int) -> list[int]:
    """UDP and TCP, for the gateway. Raises OSError."""
    return [_listen(namespace, socket.SOCK_DGRAM, DNS_PORT), _listen(namespace, socket.SOCK_STREAM, DNS_PORT)]


def proxy(namespace: int) -> int:
    """Of the gateway's proxy. Raises OSError."""
    return _listen(namespace, socket.SOCK_STREAM, PROXY_PORT)


def packages(namespace: int) -> int:
    """Of the mirror. Raises OSError."""
    return _listen(namespace, socket.SOCK_STREAM, PACKAGES_PORT)


def redirected(namespace: int) -> list[int]:
    """Of the gateway, for connections that ``rules.redirecting_rules`` lead to it: IPv4, and IPv6 where Linux has it.

    Raises OSError.
    """
    found = [_listen(namespace, socket.SOCK_STREAM, REDIRECTED_PORT, str(REDIRECTED[4]))]
    with suppress(OSError):
        found.append(_listen(namespace, socket.SOCK_STREAM, REDIRECTED_PORT, str(REDIRECTED[6])))
    return found


def _listen(namespace: int, kind: socket.SocketKind, port: int, address: str = ADDRESS) -> int:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with namespaces.open_socket(namespace, family, kind) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        if kind == socket.SOCK_STREAM:
            sock.listen(BACKLOG)
        return sock.detach()


def refusals(namespace: int) -> int:
    """A socket that is told of each packet that ``sandbox_rules`` refuse (nfnetlink_log). Raises OSError."""
    head = struct.pack(">BBH", socket.AF_UNSPEC, 0, LOG_GROUP)
    flags = ACK
    bind = message(_LOG_SUBSYSTEM << 8 | _LOG_CONFIG, flags, head + attribute(1, struct.pack(">B", _BIND)))
    mode = struct.pack(">IBx", LOGGED_BYTES, _COPY_PACKET)
    copy = message(_LOG_SUBSYSTEM << 8 | _LOG_CONFIG, flags, head + attribute(2, mode))
    netlink = Netlink(NETLINK_NETFILTER, namespace)
    try:
        netlink.ask([bind])
        netlink.ask([copy])
        netlink.socket.setblocking(False)  # noqa: FBT003 - positional only
        return netlink.socket.detach()
    finally:
        netlink.close()
