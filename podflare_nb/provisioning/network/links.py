"""Links, addresses and routes of a network namespace: messages of rtnetlink(7) for a batch.

Both ends of a wire have one hardware address, and resolve none (IFF_NOARP): a packet that one end sends is addressed to
the other as it is, in IPv4 and IPv6, without a neighbour table, gratuitous questions or anything to wait for.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, IPv6Network, ip_address

from ...protocol.egress import Address, Network
from .netlink import (
    ACK,
    CREATE,
    EXCLUSIVE,
    NETLINK_ROUTE,
    Netlink,
    attribute,
    attributes_in,
    message,
    nested,
    text,
    u32,
)

Interface = IPv4Interface | IPv6Interface
LOOPBACK_INDEX = 1
IFF_UP, IFF_NOARP = 0x1, 0x80
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEW_LINK, _DEL_LINK, _GET_LINK = 16, 17, 18
_NEW_ADDRESS, _GET_ADDRESS = 20, 22
_NEW_ROUTE, _DEL_ROUTE, _GET_ROUTE = 24, 25, 26
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_STATS64, _IFLA_NET_NS_FD = 1, 3, 4, 18, 23, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_F_NODAD = 0x02
_RTA_DST, _RTA_OIF = 1, 4
_RT_TABLE_MAIN, _RT_TABLE_LOCAL, _RTPROT_STATIC = 254, 255, 4
_RT_SCOPE_LINK, _RT_SCOPE_HOST, _RTN_UNICAST, _RTN_LOCAL = 253, 254, 1, 2
_STATISTICS = struct.Struct("=4Q")


@dataclass(frozen=True, slots=True)
class End:
    """One end of a wire. ``index``: the number that it is to have in its namespace."""

    name: str
    index: int
    namespace: int


def wire(near: End, far: End, hardware: bytes, mtu: int) -> bytes:
    """A veth pair (veth(4)), both ends still down. For a batch in the namespace of ``near``."""
    info = nested(
        _IFLA_LINKINFO,
        text(_IFLA_INFO_KIND, "veth"),
        nested(_IFLA_INFO_DATA, nested(_VETH_INFO_PEER, _end(far, hardware, mtu), u32(_IFLA_NET_NS_FD, far.namespace))),
    )
    return message(_NEW_LINK, ACK | CREATE | EXCLUSIVE, _end(near, hardware, mtu) + info)


def _end(end: End, hardware: bytes, mtu: int) -> bytes:
    return (
        _LINK.pack(socket.AF_UNSPEC, 0, end.index, IFF_NOARP, IFF_NOARP)
        + text(_IFLA_IFNAME, end.name)
        + u32(_IFLA_MTU, mtu)
        + attribute(_IFLA_ADDRESS, hardware)
    )


def up(index: int) -> bytes:
    """Let a link work."""
    return message(_NEW_LINK, ACK, _LINK.pack(socket.AF_UNSPEC, 0, index, IFF_UP, IFF_UP))


def unwire(index: int) -> bytes:
    """Take away a wire by one of its ends."""
    return message(_DEL_LINK, ACK, _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0))


def indices(names: Iterable[str]) -> set[int]:
    """The numbers of these links of ours, without those that have gone meanwhile: others take theirs away any time."""
    found = set()
    for name in names:
        with suppress(OSError):
            found.add(socket.if_nametoindex(name))
    return found


def addresses(index: int, interfaces: Iterable[Interface]) -> list[bytes]:
    """Addresses of a link, with their prefixes. Nobody is asked whether they are taken.

    Linux lets an IPv6 address come in a moment after it was added, from a work queue (addrconf_dad_start), and what is
    sent to it until then is lost; a local route (ip-route(8)) of its own lets it come in at once.
    """
    return [each for interface in interfaces for each in _address(index, interface)]


def _address(index: int, interface: Interface) -> Iterator[bytes]:
    packed = interface.ip.packed
    if interface.version == 6:
        yield message(_NEW_ROUTE, ACK | CREATE, _local_route(index, IPv6Network(interface.ip)))
    head = _ADDRESS.pack(_family(interface.ip), interface.network.prefixlen, _IFA_F_NODAD, 0, index)
    yield message(
        _NEW_ADDRESS, ACK | CREATE | EXCLUSIVE, head + attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)
    )


def route(index: int, to: Network) -> bytes:
    """What is sent to these goes over that link."""
    return message(_NEW_ROUTE, ACK | CREATE | EXCLUSIVE, _route(index, to))


def take_in(to: Network) -> bytes:
    """What is sent to these comes in, over the loopback (ip-route(8): a local route)."""
    return message(_NEW_ROUTE, ACK | CREATE, _local_route(LOOPBACK_INDEX, to))


def let_go(to: Network) -> bytes:
    """It does no longer."""
    return message(_DEL_ROUTE, ACK, _local_route(LOOPBACK_INDEX, to))


def _local_route(index: int, to: Network) -> bytes:
    head = _ROUTE.pack(
        _family(to.network_address), to.prefixlen, 0, 0, _RT_TABLE_LOCAL, _RTPROT_STATIC, _RT_SCOPE_HOST, _RTN_LOCAL, 0
    )
    target = attribute(_RTA_DST, to.network_address.packed) if to.prefixlen else b""
    return head + target + u32(_RTA_OIF, index)


def unroute(index: int, to: Network) -> bytes:
    """It does no longer."""
    return message(_DEL_ROUTE, ACK, _route(index, to))


def _route(index: int, to: Network) -> bytes:
    scope = _RT_SCOPE_LINK if to.version == 4 else 0
    head = _ROUTE.pack(
        _family(to.network_address), to.prefixlen, 0, 0, _RT_TABLE_MAIN, _RTPROT_STATIC, scope, _RTN_UNICAST, 0
    )
    target = attribute(_RTA_DST, to.network_address.packed) if to.prefixlen else b""
    return head + target + u32(_RTA_OIF, index)


def _family(one: IPv4Address | IPv6Address) -> int:
    return socket.AF_INET if one.version == 4 else socket.AF_INET6


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is there in a namespace.

    ``addresses``: all of its own; ``ways_out``: names of the links that default routes go over, by IP's version;
    ``mtu``: the smallest of theirs.
    """

    addresses: frozenset[Address]
    ways_out: dict[int, frozenset[str]]
    mtu: int


def look_around(namespace: int | None = None) -> Surroundings:
    """Read a namespace's addresses and ways out. Raises OSError."""
    with Netlink(NETLINK_ROUTE, namespace) as netlink:
        names, mtus = {}, {}
        for body in netlink.dump(_GET_LINK, _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
            index = _LINK.unpack_from(body)[2]
            found = attributes_in(body[_LINK.size :])
            names[index] = found[_IFLA_IFNAME].rstrip(b"\0").decode(errors="replace")
            mtus[index] = int.from_bytes(found[_IFLA_MTU], "little")
        addresses: set[Address] = set()
        for body in netlink.dump(_GET_ADDRESS, _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
            found = attributes_in(body[_ADDRESS.size :])
            if (packed := found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)) is not None:
                addresses.add(ip_address(packed))
        over: dict[int, set[int]] = {4: set(), 6: set()}
        for version, family in ((4, socket.AF_INET), (6, socket.AF_INET6)):
            for body in netlink.dump(_GET_ROUTE, _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
                head, found = _ROUTE.unpack_from(body), attributes_in(body[_ROUTE.size :])
                if head[1] == 0 and head[7] == _RTN_UNICAST and _RTA_OIF in found and head[4] == _RT_TABLE_MAIN:
                    over[version].add(int.from_bytes(found[_RTA_OIF], "little"))
    ways = {version: frozenset(names[i] for i in found if i in names) for version, found in over.items()}
    mtu = min((mtus[i] for found in over.values() for i in found if i in mtus), default=1500)
    return Surroundings(frozenset(addresses), ways, mtu)


def settle(netlink: Netlink, index: int) -> None:
    """Let a link that has just come up carry from now on. Linux finishes that a moment later, and what is sent until
    then is lost; asked for the link's state, it finishes it first (rtnl_getlink, since 6.10). Raises OSError."""
    netlink.get(_GET_LINK, _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0))


def traffic(netlink: Netlink, index: int) -> tuple[int, int]:
    """Bytes that have come in and gone out over a link. Raises OSError."""
    (body,) = netlink.get(_GET_LINK, _LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0))
    link = attributes_in(body[_LINK.size :])
    _, _, received, sent = _STATISTICS.unpack_from(link[_IFLA_STATS64])
    return received, sent
