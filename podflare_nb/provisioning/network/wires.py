"""The wires between the router and sandboxes: who has which, with what addresses, and what leads over it.

Each is a pair of virtual Ethernet links (veth(4)): ``s<number>`` in the router's namespace, ``eth0`` in the sandbox's.
"""

from __future__ import annotations

import secrets
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_network

from ...protocol.egress import Network
from . import connections, conntrack, links, namespaces, nftables
from .forwarding import SETTINGS
from .netlink import NETLINK_NETFILTER, NETLINK_ROUTE, Netlink

SANDBOXES_4 = IPv4Network("198.18.0.0/15")
"""Sandboxes' addresses, seen by nobody but themselves and the router: a range for benchmarks (RFC 2544), so that no
network that somebody wants to reach is hidden by them."""
DEFAULT_4, DEFAULT_6 = ip_network("0.0.0.0/0"), ip_network("::/0")
HARDWARE = bytes.fromhex("02706662e001")
FIRST_SANDBOX = 1000
INSIDE = links.End("eth0", 2, -1)


@dataclass(frozen=True, slots=True)
class Wire:
    """A sandbox's end of a wire: its number, and the addresses it has."""

    number: int
    addresses: tuple[IPv4Interface | IPv6Interface, ...]

    @property
    def defaults(self) -> tuple[Network, ...]:
        """What its default routes lead to."""
        return tuple(DEFAULT_4 if each.version == 4 else DEFAULT_6 for each in self.addresses)


class Wires:
    """All of a router's; ``open`` them with its namespace. ``rules``: what keeps what is not public out of reach, in
    each sandbox's own namespace."""

    def __init__(self, rules: list[bytes], mtu: int, *, has_ipv6: bool) -> None:
        self._rules, self._mtu, self._has_ipv6 = rules, mtu, has_ipv6
        self._free = deque(range(4, SANDBOXES_4.num_addresses - 1))
        self._prefix_6 = IPv6Network((b"\xfd" + secrets.token_bytes(7) + bytes(8), 64))
        self._namespace = -1
        self._netlink: Netlink | None = None

    def __repr__(self) -> str:
        return f"<Wires {'closed' if self._netlink is None else 'open'}>"

    def open(self, namespace: int) -> Netlink:
        """Begin. Gives the netlink socket in the router's namespace, which is the wires' own. Raises OSError."""
        self._netlink = Netlink(NETLINK_ROUTE, namespace)
        self._namespace = namespace
        return self._netlink

    def close(self) -> None:
        """The router ends, and all wires with its namespace. Idempotent."""
        if self._netlink is not None:
            self._netlink.close()
        self._netlink, self._namespace = None, -1

    def new(self) -> Wire:
        """Addresses for a sandbox; ``give_back`` them. Raises IndexError when all are taken."""
        number = self._free.popleft()
        found: list[links.Interface] = [IPv4Interface((SANDBOXES_4[number], 32))]
        if self._has_ipv6:
            found.append(IPv6Interface((self._prefix_6[number], 128)))
        return Wire(number, tuple(found))

    def give_back(self, wire: Wire, namespace: int) -> None:
        """Its sandbox has ended, and every process in it. The wire ends with the sandbox's namespace; its number is
        used again last of all.

        A connection that was just being closed would keep the namespace for minutes: once it is forgotten here, no
        answer finds its way to it any more.
        """
        with suppress(OSError):
            self._end_connections(wire, namespace)
        with suppress(OSError):
            self._forget(wire)
        self._free.append(wire.number)

    def attach(self, wire: Wire, namespace: int) -> None:
        """Lay the wire to a sandbox that has none yet, with rules and no route. Raises OSError."""
        netlink = self._open_netlink()
        index = FIRST_SANDBOX + wire.number
        near = links.End(f"s{wire.number}", index, self._namespace)
        with namespaces.entered(namespace):  # it has the addresses that it is given, and asks nobody for others
            for name, value in (("accept_ra", "0"), ("addr_gen_mode", "1")):
                (SETTINGS / f"ipv6/conf/default/{name}").write_text(value)
        netlink.ask([
            links.wire(near, replace(INSIDE, namespace=namespace), HARDWARE, self._mtu), links.up(index),
        ])  # fmt: skip
        if self._rules:
            with nftables.open_netlink(namespace) as rules:
                rules.ask(self._rules)
        with Netlink(NETLINK_ROUTE, namespace) as inside:
            inside.ask([links.up(INSIDE.index), *links.addresses(INSIDE.index, wire.addresses)])
            links.settle(inside, INSIDE.index)
        links.settle(netlink, index)

    def connect(self, wire: Wire, namespace: int) -> None:
        """Give the sandbox its default routes, and the way back. Raises OSError."""
        index = FIRST_SANDBOX + wire.number
        self._open_netlink().ask([links.route(index, each.network) for each in wire.addresses])
        with Netlink(NETLINK_ROUTE, namespace) as inside:
            inside.ask([links.route(INSIDE.index, each) for each in wire.defaults])

    def disconnect(self, wire: Wire, namespace: int) -> None:
        """Take away every route, both ways, and end what is connected. Raises OSError."""
        self._end_connections(wire, namespace)  # while the other side can still be told
        with Netlink(NETLINK_ROUTE, namespace) as inside:
            inside.ask([links.unroute(INSIDE.index, each) for each in wire.defaults])
        self._end_connections(wire, namespace)  # what has begun meanwhile
        index = FIRST_SANDBOX + wire.number
        self._open_netlink().ask([links.unroute(index, each.network) for each in wire.addresses])
        self._forget(wire)

    def _end_connections(self, wire: Wire, namespace: int) -> None:
        """There are none where nothing was ever sent, as from a kernel of the pool: to look for them takes longer."""
        sent, _ = self.traffic(wire)
        if sent:
            connections.end(namespace, {each.ip for each in wire.addresses})

    def _forget(self, wire: Wire) -> None:
        """Its connections have ended, and are told of now."""
        with Netlink(NETLINK_NETFILTER, self._namespace) as netlink:
            netlink.ask([conntrack.forget(each.ip) for each in wire.addresses])

    def traffic(self, wire: Wire) -> tuple[int, int]:
        """Bytes that a sandbox has sent and received over its wire. Raises OSError."""
        return links.traffic(self._open_netlink(), FIRST_SANDBOX + wire.number)

    def _open_netlink(self) -> Netlink:
        if self._netlink is None:
            raise OSError("there is no router")
        return self._netlink
