"""The router: a network namespace of our own between the sandboxes' and the host's.

Sandboxes that may reach the internet have a wire to it, it has one to the host. No process of a sandbox is in it; the
gateway is. It needs no process to live: when the supervisor ends, however that comes about, its descriptor is closed,
and Linux takes away the namespace, both ends of all wires and, with the socket that made it, the host's table.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_network

from ...protocol.egress import Network
from . import connections, conntrack, links, namespaces, nftables
from .addresses import Reach
from .config import ConnectionLimits
from .forwarding import SETTINGS, Forwarding, can_forward_6
from .netlink import NETLINK_NETFILTER, NETLINK_ROUTE, Netlink
from .rules import TABLE, UPLINK_PREFIX, host_rules, router_rules, sandbox_rules

SANDBOXES_4 = IPv4Network("198.18.0.0/15")
"""Sandboxes' addresses, seen by nobody but themselves and the router: a range for benchmarks (RFC 2544), so that no
network that somebody wants to reach is hidden by them."""
UPLINKS_4 = IPv4Network("169.254.64.0/18")
DEFAULT_4, DEFAULT_6 = ip_network("0.0.0.0/0"), ip_network("::/0")
HARDWARE = bytes.fromhex("02706662e001")
UPLINK, FIRST_SANDBOX = 2, 1000
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


class Router:
    """``open`` it; ``attach`` sandboxes; ``close`` takes everything away."""

    def __init__(self, name: str, reach: Reach, limits: ConnectionLimits, without: tuple[str, ...]) -> None:
        """``name`` ends as no other router's on this host; ``without``: layers left out, for negative controls."""
        self._name, self._limits, self._without = name, limits, without
        self._forwarding: list[Forwarding] = []
        self._uplink_name = f"{UPLINK_PREFIX}{name.rpartition('-')[2]}"
        self._uplink = secrets.randbelow(1 << 28) + (1 << 24)
        self.namespace = -1
        self._netlink: Netlink | None = None
        self._table: Netlink | None = None
        self._free = deque(range(4, SANDBOXES_4.num_addresses - 1))
        self._prefix_6 = IPv6Network((b"\xfd" + secrets.token_bytes(7) + bytes(8), 64))
        around = links.look_around()
        self.reach = replace(reach, own=reach.own | around.addresses)
        self._around = around
        self.has_ipv6 = bool(around.ways_out[6]) and can_forward_6()
        self._rules = [] if "sandbox_rules" in without else sandbox_rules(self.reach).messages()

    def __repr__(self) -> str:
        return f"<Router {self._name} {'open' if self.namespace >= 0 else 'closed'}>"

    def open(self) -> None:
        """Make it. Raises OSError; what had been made by then is taken away."""
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self.namespace = namespaces.make()
        self._netlink = Netlink(NETLINK_ROUTE, self.namespace)
        host, far = self._addresses()
        own = os.open(namespaces.OWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with Netlink(NETLINK_ROUTE) as netlink:
                ends = links.End(self._uplink_name, self._uplink, own), links.End("uplink", UPLINK, self.namespace)
                netlink.ask([links.wire(*ends, HARDWARE, self._around.mtu), links.up(self._uplink),
                             *links.addresses(self._uplink, host)])  # fmt: skip
        finally:
            os.close(own)
        # A router has forwarding on before it has addresses: what it takes for its own depends on it.
        with namespaces.entered(self.namespace):
            (SETTINGS / "ipv4/conf/all/rp_filter").write_text("1")  # a source that is not the sender's goes nowhere
            (SETTINGS / "ipv4/ip_forward").write_text("1")
            (SETTINGS / "ipv6/conf/all/forwarding").write_text("1")
            conntrack.set_up()
        defaults = [DEFAULT_4, *([DEFAULT_6] if len(far) > 1 else [])]
        self._netlink.ask([links.up(links.LOOPBACK_INDEX), links.up(UPLINK),
                           *links.addresses(UPLINK, far),
                           *(links.route(UPLINK, each) for each in defaults)])  # fmt: skip
        with nftables.open_netlink(self.namespace) as rules:
            router_rules(self.reach, UPLINK, self._limits, bare="router_rules" in self._without).commit(rules)
        self._meet_the_host(far)

    def _addresses(self) -> tuple[list[links.Interface], list[links.Interface]]:
        """The host's and the router's addresses on the wire between them: IPv6 too where the host has a way out."""
        taken = self._around.addresses
        pairs = list(UPLINKS_4.subnets(new_prefix=31))
        pair = next(each for each in secrets.SystemRandom().sample(pairs, 64) if each[0] not in taken)
        host: list[links.Interface] = [IPv4Interface((pair[0], 31))]
        far: list[links.Interface] = [IPv4Interface((pair[1], 31))]
        if self.has_ipv6:
            network = IPv6Network((b"\xfd" + secrets.token_bytes(14) + b"\0", 127))
            host.append(IPv6Interface((network[0], 127)))
            far.append(IPv6Interface((network[1], 127)))
        return host, far

    def _meet_the_host(self, far: list[links.Interface]) -> None:
        guard: dict[int, set[int]] = {}
        for each in far:
            forwarding = Forwarding(each.version)
            self._forwarding.append(forwarding)
            if forwarding.turned_on:
                guard[each.version] = {socket.if_nametoindex(link) for link in forwarding.anyway}
        addresses = [ip_network(each.ip) for each in far]
        self._table = nftables.open_netlink()
        name, bare = f"{TABLE}-{self._name}", "host_rules" in self._without
        rules = host_rules(name, self.reach, self._uplink, addresses, guard, bare=bare)
        rules.commit(self._table)

    def new_wire(self) -> Wire:
        """Addresses for a sandbox; ``give_back`` them. Raises IndexError when all are taken."""
        number = self._free.popleft()
        found: list[links.Interface] = [IPv4Interface((SANDBOXES_4[number], 32))]
        if self.has_ipv6:
            found.append(IPv6Interface((self._prefix_6[number], 128)))
        return Wire(number, tuple(found))

    def give_back(self, wire: Wire) -> None:
        """Its sandbox has ended. The wire ends with the sandbox's namespace; its number is used again last of all."""
        with suppress(OSError):
            self._forget(wire)
        self._free.append(wire.number)

    def attach(self, wire: Wire, namespace: int) -> None:
        """Lay the wire to a sandbox that has none yet, with rules and no route. Raises OSError."""
        netlink = self._open_netlink()
        index = FIRST_SANDBOX + wire.number
        near = links.End(f"s{wire.number}", index, self.namespace)
        with namespaces.entered(namespace):  # it has the addresses that it is given, and asks nobody for others
            for name, value in (("accept_ra", "0"), ("addr_gen_mode", "1")):
                (SETTINGS / f"ipv6/conf/default/{name}").write_text(value)
        netlink.ask([
            links.wire(near, replace(INSIDE, namespace=namespace), HARDWARE, self._around.mtu), links.up(index),
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
        with Netlink(NETLINK_NETFILTER, self.namespace) as netlink:
            netlink.ask([conntrack.forget(each.ip) for each in wire.addresses])

    def for_gateway(self) -> list[int]:
        """Descriptors of the namespace, for the gateway to live in, and of what tells of each connection that ended.

        Raises OSError.
        """
        return [os.dup(self.namespace), conntrack.ends(self.namespace)]

    def traffic(self, wire: Wire) -> tuple[int, int]:
        """Bytes that a sandbox has sent and received over its wire. Raises OSError."""
        return links.traffic(self._open_netlink(), FIRST_SANDBOX + wire.number)

    def _open_netlink(self) -> Netlink:
        if self._netlink is None:
            raise OSError("there is no router")
        return self._netlink

    def close(self) -> None:
        """Take everything away. Idempotent."""
        for forwarding in self._forwarding:
            forwarding.take_back()
        for netlink in (self._table, self._netlink):
            if netlink is not None:
                netlink.close()
        self._table = self._netlink = None
        with suppress(OSError), Netlink(NETLINK_ROUTE) as netlink:
            netlink.ask([links.unwire(self._uplink)])  # at once; with its namespace it would go a moment later
        if self.namespace >= 0:
            os.close(self.namespace)
            self.namespace = -1
