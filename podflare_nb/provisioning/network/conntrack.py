"""Connections that the router tracks (nfnetlink_conntrack): told of at their end, forgotten with a sandbox."""

from __future__ import annotations

import os
import socket
import struct

from ...protocol.egress import Address
from .forwarding import SETTINGS
from .netlink import ACK, NETLINK_NETFILTER, Netlink, attribute, message, nested, u32

DESTROY_GROUP = 3
EVENT_BYTES = 8 << 20
TIMEOUTS = {
    "tcp_timeout_time_wait": 2,
    "tcp_timeout_close": 1,
    "tcp_timeout_last_ack": 10,
    "tcp_timeout_established": 86_400,
}
"""Seconds. A connection that has ended is told of soon; one that says nothing for a day has ended, most likely."""
_SUBSYSTEM, _DELETE = 1, 2
_TUPLE_ORIGINAL, _FILTER = 1, 25
_TUPLE_IP, _IPV4_SOURCE, _IPV6_SOURCE = 1, 1, 3
_FILTER_ORIGINAL, _FILTER_REPLY = 1, 2
_BY_SOURCE = 1
_SO_RCVBUFFORCE = 33


def set_up() -> None:
    """Count bytes, and end what has ended, in the caller's namespace. Raises OSError."""
    settings = SETTINGS / "netfilter"
    (settings / "nf_conntrack_acct").write_text("1")
    for name, seconds in TIMEOUTS.items():
        (settings / f"nf_conntrack_{name}").write_text(str(seconds))


def ends(namespace: int) -> int:
    """A descriptor of what tells of each connection that ended, with its bytes. Raises OSError."""
    with Netlink(NETLINK_NETFILTER, namespace) as netlink:
        netlink.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, EVENT_BYTES)
        netlink.join(DESTROY_GROUP)
        netlink.socket.setblocking(False)  # noqa: FBT003 - positional only
        return os.dup(netlink.socket.fileno())


def forget(source: Address) -> bytes:
    """End all connections of this address: each is told of, and nothing of it is let through any more."""
    family, kind = (socket.AF_INET, _IPV4_SOURCE) if source.version == 4 else (socket.AF_INET6, _IPV6_SOURCE)
    body = (
        struct.pack(">BBH", family, 0, 0)
        + nested(_TUPLE_ORIGINAL, nested(_TUPLE_IP, attribute(kind, source.packed)))
        + nested(_FILTER, u32(_FILTER_ORIGINAL, _BY_SOURCE), u32(_FILTER_REPLY, 0))
    )
    return message(_SUBSYSTEM << 8 | _DELETE, ACK, body)
