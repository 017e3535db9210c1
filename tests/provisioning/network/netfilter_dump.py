"""What nf_tables holds in a namespace, read by netlink: no ``nft`` program is needed."""

import socket
import struct
from contextlib import suppress

from podflare_nb.provisioning.network import nftables
from podflare_nb.provisioning.network.netlink import attributes_in

GET_TABLE, GET_RULE, GET_ELEMENTS = 0xA01, 0xA07, 0xA0D
HEAD = struct.pack(">BBH", socket.AF_UNSPEC, 0, 0)


def tables(namespace: int | None = None) -> list[str]:
    """The names of all tables."""
    with nftables.open_netlink(namespace) as netlink:
        return sorted(_text(attributes_in(body[4:])[1]) for body in netlink.dump(GET_TABLE, HEAD))


def rules(namespace: int | None = None) -> list[tuple[str, str]]:
    """Table and chain of each rule."""
    with nftables.open_netlink(namespace) as netlink:
        found = [attributes_in(body[4:]) for body in netlink.dump(GET_RULE, HEAD)]
    return [(_text(each[1]), _text(each[2])) for each in found]


def elements(table: str, name: str, namespace: int | None = None) -> list[bytes]:
    """The keys of a set, ends of intervals too."""
    body = struct.pack(">BBH", nftables.INET, 0, 0) + nftables.text(1, table) + nftables.text(2, name)
    keys = []
    with nftables.open_netlink(namespace) as netlink:
        for answer in netlink.dump(GET_ELEMENTS, body):
            listed = attributes_in(answer[4:]).get(3, b"")
            keys += [key for each in _list(listed) for key in _keys(each)]
    return keys


def _keys(element: bytes) -> list[bytes]:
    with suppress(KeyError):
        return [attributes_in(attributes_in(element)[1])[1]]
    return []


def _list(data: bytes) -> list[bytes]:
    found, offset = [], 0
    while offset + 4 <= len(data):
        (size,) = struct.unpack_from("=H", data, offset)
        found.append(data[offset + 4 : offset + size])
        offset += size + -size % 4
    return found


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode()
