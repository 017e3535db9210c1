"""The router: a network namespace of our own between the sandboxes' and the host's.

Sandboxes that may reach the internet have a wire to it, it has one to the host. No process of a sandbox is in it; the
gateway is. It needs no process to live: when the supervisor ends, however that comes about, its descriptor is closed,
and Linux takes away the namespace, both ends of all wires and, with the socket that made it, the host's table.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_network

from . import conntrack, links, namespaces, nftables
from .addresses import Reach
from .config import ConnectionLimits
from .forwarding import SETTINGS, Forwarding, can_forward_6
from .netlink import NETLINK_ROUTE, Netlink
from .rules import TABLE, UPLINK_PREFIX, host_rules, router_rules, sandbox_rules
from .wires import DEFAULT_4, DEFAULT_6, HARDWARE, Wires

UPLINKS_4 = IPv4Network("169.254.64.0/18")
UPLINK = 2


class Router:
    """``open`` it; sandboxes have ``wires`` to it; ``close`` takes everything away."""

    def __init__(self, name: str, reach: Reach, limits: ConnectionLimits, without: tuple[str, ...]) -> None:
        """``name`` ends as no other router's on this host; ``without``: layers left out, for negative controls."""
        self._name, self._limits, self._without = name, limits, without
        self._forwarding: list[Forwarding] = []
        self._uplink_name = f"{UPLINK_PREFIX}{name.rpartition('-')[2]}"
        self._uplink = secrets.randbelow(1 << 28) + (1 << 24)
        self.namespace = -1
        self._table: Netlink | None = None
        around = links.look_around()
        self.reach = replace(reach, own=reach.own | around.addresses)
        self._around = around
        self.has_ipv6 = bool(around.ways_out[6]) and can_forward_6()
        rules = [] if "sandbox_rules" in without else sandbox_rules(self.reach).messages()
        self.wires = Wires(rules, around.mtu, has_ipv6=self.has_ipv6)

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
        inside = self.wires.open(self.namespace)
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
        inside.ask([links.up(links.LOOPBACK_INDEX), links.up(UPLINK),
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
                guard[each.version] = links.indices(forwarding.anyway)
        addresses = [ip_network(each.ip) for each in far]
        self._table = nftables.open_netlink()
        name, bare = f"{TABLE}-{self._name}", "host_rules" in self._without
        rules = host_rules(name, self.reach, self._uplink, addresses, guard, bare=bare)
        rules.commit(self._table)

    def for_gateway(self) -> list[int]:
        """Descriptors of the namespace, for the gateway to live in, and of what tells of each connection that ended.

        Raises OSError.
        """
        return [os.dup(self.namespace), conntrack.ends(self.namespace)]

    def close(self) -> None:
        """Take everything away. Idempotent."""
        for forwarding in self._forwarding:
            forwarding.take_back()
        if self._table is not None:
            self._table.close()
            self._table = None
        self.wires.close()
        with suppress(OSError), Netlink(NETLINK_ROUTE) as netlink:
            netlink.ask([links.unwire(self._uplink)])  # at once; with its namespace it would go a moment later
        if self.namespace >= 0:
            os.close(self.namespace)
            self.namespace = -1
