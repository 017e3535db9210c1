"""Connections that the router carried and that have ended, as conntrack tells (linux/netfilter/nfnetlink_conntrack.h).

Pure. Bytes are counted where ``net.netfilter.nf_conntrack_acct`` is 1; they include packets' headers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from ....protocol.egress import Address
from .netlink_messages import attributes, messages
from .refused_packets import TRANSPORTS, Transport

DESTROYED = 0x0102
"""NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE."""
TUPLE_ORIG, COUNTERS_ORIG, COUNTERS_REPLY = 1, 9, 10
TUPLE_IP, TUPLE_PROTO = 1, 2
SOURCES, DESTINATIONS = (1, 3), (2, 4)
PROTO_NUMBER, PROTO_DESTINATION_PORT = 1, 3
COUNTER_BYTES = 2


@dataclass(frozen=True, slots=True)
class EndedConnection:
    """``sent``: bytes from ``source``, who began it."""

    protocol: Transport
    source: Address
    address: Address
    port: int
    sent: int
    received: int


def ended_connections(data: bytes) -> Iterator[EndedConnection]:
    """The connections whose end one datagram tells of, without those of other protocols."""
    for kind, body in messages(data):
        if kind == DESTROYED:
            connection = _read(attributes(body))
            if connection is not None:
                yield connection


def _read(found: dict[int, bytes]) -> EndedConnection | None:
    both = attributes(found.get(TUPLE_ORIG, b""))
    ends, protocol = attributes(both.get(TUPLE_IP, b"")), attributes(both.get(TUPLE_PROTO, b""))
    number = int.from_bytes(protocol.get(PROTO_NUMBER, b""), "big")
    source, destination = _address(ends, SOURCES), _address(ends, DESTINATIONS)
    if number not in TRANSPORTS or source is None or destination is None:
        return None
    port = int.from_bytes(protocol.get(PROTO_DESTINATION_PORT, b""), "big")
    return EndedConnection(
        TRANSPORTS[number], source, destination, port, _bytes(found, COUNTERS_ORIG), _bytes(found, COUNTERS_REPLY)
    )


def _address(found: dict[int, bytes], kinds: tuple[int, int]) -> Address | None:
    packed = found.get(kinds[0]) or found.get(kinds[1]) or b""
    return ip_address(packed) if len(packed) in {4, 16} else None


def _bytes(found: dict[int, bytes], kind: int) -> int:
    return int.from_bytes(attributes(found.get(kind, b"")).get(COUNTER_BYTES, b""), "big")
