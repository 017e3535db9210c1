"""Messages of netfilter's netlink sockets (linux/netfilter/nfnetlink.h) and their attributes. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator

HEADER = struct.Struct("=IHHII")
ATTRIBUTE = struct.Struct("=HH")
FAMILY_HEADER_BYTES = 4
TYPE_MASK = 0x3FFF
"""Without the bits that say nested and network order."""


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and attributes of each message in a datagram. One that is cut off ends them."""
    at = 0
    while len(data) - at >= HEADER.size + FAMILY_HEADER_BYTES:
        length, kind, *_ = HEADER.unpack_from(data, at)
        if length < HEADER.size + FAMILY_HEADER_BYTES or at + length > len(data):
            return
        yield kind, data[at + HEADER.size + FAMILY_HEADER_BYTES : at + length]
        at += _aligned(length)


def attributes(data: bytes) -> dict[int, bytes]:
    """Attributes by type; of equal types the last."""
    found, at = {}, 0
    while len(data) - at >= ATTRIBUTE.size:
        length, kind = ATTRIBUTE.unpack_from(data, at)
        if length < ATTRIBUTE.size or at + length > len(data):
            break
        found[kind & TYPE_MASK] = data[at + ATTRIBUTE.size : at + length]
        at += _aligned(length)
    return found


def _aligned(length: int) -> int:
    return (length + 3) & ~3
