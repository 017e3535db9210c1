"""Ends connections of a network namespace at once, whoever holds them (sock_diag(7), SOCK_DESTROY; Linux 4.5).

Their programs are told (ECONNABORTED) and, while there still is a route, the other side (a reset): without that both
would wait for an answer that no longer finds its way.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address

from ...protocol.egress import Address, unmapped
from .netlink import ACK, Netlink, message

NETLINK_SOCK_DIAG = 4
_BY_FAMILY, _DESTROY = 20, 21
_REQUEST = struct.Struct("=BBBxI")
_ID = struct.Struct("=4s16s16sI8s")
_ANSWER_HEAD = 4
HARMLESS = frozenset({errno.ENOENT, errno.EINVAL, errno.EOPNOTSUPP})
"""It has ended by itself; it only waits to be forgotten; Linux was built without this."""
_ALL_STATES = 0xFFFFFFFF


def end(namespace: int, addresses: Collection[Address]) -> None:
    """End every TCP connection, and every connected UDP socket, from one of these addresses. Raises OSError."""
    with Netlink(NETLINK_SOCK_DIAG, namespace) as netlink:
        for family in (socket.AF_INET, socket.AF_INET6):
            for protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
                _end(netlink, family, protocol, addresses)


def _end(netlink: Netlink, family: int, protocol: int, addresses: Collection[Address]) -> None:
    request = _REQUEST.pack(family, protocol, 0, _ALL_STATES)
    for body in netlink.dump(_BY_FAMILY, request + bytes(_ID.size)):
        ours = body[_ANSWER_HEAD : _ANSWER_HEAD + _ID.size]
        _, source, _, _, _ = _ID.unpack(ours)
        if _address(family, source) not in addresses:
            continue
        try:
            netlink.ask([message(_DESTROY, ACK, request + ours)])
        except OSError as error:
            if error.errno not in HARMLESS:
                raise


def _address(family: int, packed: bytes) -> Address:
    return IPv4Address(packed[:4]) if family == socket.AF_INET else unmapped(IPv6Address(packed))
