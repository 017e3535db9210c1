"""Packets that a sandbox's rules refused, as NFLOG tells them (linux/netfilter/nfnetlink_log.h). Pure.

The packet itself was made inside: each length in it is checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from ....protocol.egress import Address, unmapped
from .netlink_messages import attributes, messages

PACKET = 0x0400
"""NFNL_SUBSYS_ULOG, NFULNL_MSG_PACKET."""
PAYLOAD = 9
TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
EXTENSION_HEADERS = frozenset({0, 43, 60})
FRAGMENT_HEADER = 44
MAX_EXTENSIONS = 8
IP4_BYTES, IP6_BYTES = 20, 40

Transport = Literal["tcp", "udp", "icmp"]
TRANSPORTS: dict[int, Transport] = {TCP: "tcp", UDP: "udp", ICMP: "icmp", ICMP6: "icmp"}


@dataclass(frozen=True, slots=True)
class RefusedPacket:
    """Where it should have gone. ``port`` is 0 where there is none."""

    protocol: Transport
    address: Address
    port: int


def refused_packets(data: bytes) -> Iterator[RefusedPacket]:
    """The packets that one datagram tells of, without those of other protocols."""
    for kind, body in messages(data):
        if kind == PACKET:
            packet = read_packet(attributes(body).get(PAYLOAD, b""))
            if packet is not None:
                yield packet


def read_packet(packet: bytes) -> RefusedPacket | None:
    """Where an IP packet was going; None if it is cut off or of another protocol."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= IP4_BYTES:
        first_fragment = not int.from_bytes(packet[6:8], "big") & 0x1FFF
        after = (packet[0] & 15) * 4 if first_fragment else len(packet)
        return _packet(packet[9], IPv4Address(packet[16:20]), packet[after:])
    if version == 6 and len(packet) >= IP6_BYTES:
        protocol, after = _skip_extensions(packet)
        return _packet(protocol, unmapped(IPv6Address(packet[24:40])), packet[after:])
    return None


def _skip_extensions(packet: bytes) -> tuple[int, int]:
    """The protocol, and where its header begins."""
    protocol, at = packet[6], IP6_BYTES
    for _ in range(MAX_EXTENSIONS):
        header = packet[at : at + 4]
        if len(header) < 4:
            break
        if protocol == FRAGMENT_HEADER:
            if int.from_bytes(header[2:4], "big") >> 3:
                return header[0], len(packet)
            protocol, at = header[0], at + 8
        elif protocol in EXTENSION_HEADERS:
            protocol, at = header[0], at + (header[1] + 1) * 8
        else:
            break
    return protocol, at


def _packet(protocol: int, address: Address, header: bytes) -> RefusedPacket | None:
    if protocol not in TRANSPORTS:
        return None
    port = int.from_bytes(header[2:4], "big") if protocol in {TCP, UDP} and len(header) >= 4 else 0
    return RefusedPacket(TRANSPORTS[protocol], address, port)
