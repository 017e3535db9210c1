"""The rules by which packets go, one function for each of the three places they pass: read this as the argument.

A packet of a sandbox that may reach the internet passes, in this order:

1. ``sandbox_rules``, in the sandbox's own namespace, which belongs to the host: its root can change no rule. What is
   not public is refused at once and told to whoever audits (NFLOG), so that no program waits.
2. ``router_rules``, in the router's namespace, which no process of a sandbox is in: the same ranges once more, other
   sandboxes, the router itself; and how many connections a sandbox may have. The gateway's own connections, made for
   sandboxes that may reach only some names, leave from here and meet the same ranges.
3. ``host_rules``, at the host's edge: nothing that comes from the router is for the host itself, by whatever address;
   what goes on must be public once more; nothing but answers comes back.

What they do not do: look at names (the gateway's work), or keep a sandbox from telling what it knows to a public
address. An address that the host got after its start counts as its own in the third place only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from ...protocol.egress import Address, Network
from . import nftables as nft
from .addresses import MULTICAST, NOT_PUBLIC_4, NOT_PUBLIC_6, Reach
from .config import ConnectionLimits
from .links import LOOPBACK_INDEX

TABLE = "podflare_nb"
REDIRECTING_TABLE = "podflare_nb-redirecting"
REDIRECTED: Mapping[int, Address] = {4: IPv4Address("127.0.0.53"), 6: IPv6Address("::1")}
REDIRECTED_PORT = 61129
LOOPBACK = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
UPLINK_PREFIX = "pfnb"
"""Of the names of hosts' links to their routers, those of other supervisors too."""
LOG_GROUP = 1
LOGGED_BYTES = 128
"""Of a refused packet: its headers."""
Guard = Mapping[int, AbstractSet[int]]
"""By version of IP, where the host is made to forward: the links that it forwards over anyway."""
LOGS_PER_SECOND, LOGS_AT_ONCE = 10, 50
RATE_SECONDS = 60
"""How long a sandbox's rate, and what it was refused, is known after its last: there is room for so many."""
EARLY = -10
"""Before others' rules: what these drop is dropped, what they accept the others still see."""


def sandbox_rules(reach: Reach) -> nft.Table:
    """Of a sandbox's namespace."""
    table = nft.Table(TABLE)
    _name_ranges(table, reach)
    table.ranges("many", MULTICAST)
    table.chain("refuse", [
        # Nobody could answer for many; Linux itself speaks to neighbours so, which is nothing to be told.
        *([*nft.to(version, "many"), nft.verdict(nft.DROP)] for version in (4, 6)),
        [nft.no_faster_than(LOGS_PER_SECOND, LOGS_AT_ONCE), nft.log(LOG_GROUP, LOGGED_BYTES)],
        [*nft.of_ip(6), *nft.tcp(), nft.reset()],
        [nft.reject()],
    ])  # fmt: skip
    table.chain("output", [
        [*nft.out_of(LOOPBACK_INDEX), nft.verdict(nft.ACCEPT)],
        # Sockets can bind any address (IP_FREEBIND), and IPv6 sends from it: nobody sends in another's name.
        [*nft.from_a_foreign_address(6), nft.verdict(nft.DROP)],
        *_only_public(reach),
    ], hook="output")  # fmt: skip
    return table


def redirecting_rules(ranges: Iterable[Network]) -> nft.Table:
    """Of the namespace of a sandbox that may reach these ranges and has no route: connections to them lead to the
    gateway, which makes them. What is the sandbox's own loopback stays that."""
    table = nft.Table(REDIRECTING_TABLE)
    table.ranges("loopback", LOOPBACK)
    versions = table.ranges("allowed", ranges)
    table.chain("output", [
        *([*nft.to(version, "loopback"), nft.verdict(nft.ACCEPT)] for version in versions),
        *([*nft.to(version, "allowed"), *nft.tcp(), *nft.send_to(REDIRECTED[version], REDIRECTED_PORT)]
          for version in versions),
    ], hook="output", kind="nat", priority=nft.DESTINATION_NAT_PRIORITY)  # fmt: skip
    return table


def router_rules(reach: Reach, uplink: int, limits: ConnectionLimits, *, bare: bool = False) -> nft.Table:
    """Of the router's namespace. ``uplink``: its link to the host. ``bare``: without all that refuses, for a negative
    control."""
    table = nft.Table(TABLE)
    _name_ranges(table, reach)
    for version in (4, 6):
        table.meter(f"connections{version}", version)
        table.meter(f"rate{version}", version, RATE_SECONDS)
        table.meter(over_limits(version), version, RATE_SECONDS)
    table.chain("leave", [
        [*nft.out_of(uplink), nft.masquerade()],
    ], hook="postrouting", kind="nat", priority=nft.SOURCE_NAT_PRIORITY)  # fmt: skip
    if bare:
        return table
    known = [*nft.of_a_known_connection(), nft.verdict(nft.ACCEPT)]
    table.chain("refuse", [[nft.reject()]])
    table.chain("limited", [
        *(nft.each_source(version, over_limits(version), nft.counter()) for version in (4, 6)),
        [*nft.tcp(), nft.reset()],  # Linux sends resets as they come, but few of the other errors in a second
        [nft.reject()],
    ])  # fmt: skip
    table.chain("forward", [
        [*nft.not_into(uplink), *nft.from_elsewhere(6), nft.verdict(nft.DROP)],  # of IPv4 rp_filter sees to that
        known,
        *_only_public(reach),
        *_within_limits(limits),
        [*nft.not_into(uplink), *nft.out_of(uplink), nft.verdict(nft.ACCEPT)],
    ], hook="forward", policy=nft.DROP)  # fmt: skip
    table.chain("input", [known], hook="input", policy=nft.DROP)
    table.chain("output", [
        known,
        # What the router says of packets that it refuses. The gateway cannot send any: it has no right to.
        *([*nft.icmp(version), nft.verdict(nft.ACCEPT)] for version in (4, 6)),
        *_only_named(reach),  # the gateway's own connections
    ], hook="output")  # fmt: skip
    return table


def over_limits(version: int) -> str:
    """The meter of the router's table that counts what was refused by limits, by sandbox (``limit_refusals``)."""
    return f"refused{version}"


def host_rules(  # noqa: PLR0913 - what is at that edge
    name: str, reach: Reach, uplink: int, router: Iterable[Network], guard: Guard, *, bare: bool = False
) -> nft.Table:
    """Of the host's namespace, in a table that Linux removes with the socket that made it.

    ``uplink``: the host's link to the router, which has the addresses ``router`` there.
    """
    table = nft.Table(name, nft.OWNER)
    leaving = [[*nft.source(version, "router"), nft.masquerade()] for version in table.ranges("router", router)]
    table.chain("leave", leaving, hook="postrouting", kind="nat", priority=nft.SOURCE_NAT_PRIORITY)
    if bare:
        return table
    _name_ranges(table, reach)
    table.chain("refuse", [[nft.reject()]])
    table.chain("input", [
        [*nft.into(uplink), nft.reject()],
    ], hook="input", priority=EARLY)  # fmt: skip
    table.chain("forward", [
        [*nft.out_of(uplink), *nft.of_a_known_connection(), nft.verdict(nft.ACCEPT)],
        [*nft.out_of(uplink), nft.verdict(nft.DROP)],
        *([*nft.into(uplink), *rule] for rule in _only_named(reach)),
        *_guarded(guard),
    ], hook="forward", priority=EARLY)  # fmt: skip
    return table


def _guarded(guard: Guard) -> list[nft.Rule]:
    """What the host forwards only because sandboxes need it, it forwards for nobody else."""
    return [
        rule
        for version, anyway in sorted(guard.items())
        for rule in (
            *([*nft.of_ip(version), *nft.into(link), nft.verdict(nft.ACCEPT)] for link in sorted(anyway)),
            [*nft.of_ip(version), *nft.not_between(UPLINK_PREFIX), nft.verdict(nft.DROP)],
        )
    ]


def _name_ranges(table: nft.Table, reach: Reach) -> None:
    table.ranges("own", (ip_network(address) for address in reach.own))
    table.ranges("public", reach.public)
    table.ranges("private", reach.private)
    table.ranges("closed", (*NOT_PUBLIC_4, *NOT_PUBLIC_6))


def _versions(some: Iterable[Address | Network]) -> list[int]:
    """Of which there are any: an empty set can have no rule."""
    return sorted({each.version for each in some})


def _only_public(reach: Reach) -> list[nft.Rule]:
    """As ``addresses.Reach.is_public`` decides."""
    return [*_not_own(reach), *_not_closed(reach)]


def _only_named(reach: Reach) -> list[nft.Rule]:
    """As ``addresses.Reach.may_be_named`` decides. That somebody named it is the gateway's to see."""
    named = [[*nft.to(version, "private"), nft.verdict(nft.ACCEPT)] for version in _versions(reach.private)]
    return [*_not_own(reach), *named, *_not_closed(reach)]


def _not_own(reach: Reach) -> list[nft.Rule]:
    return [[*nft.to(version, "own"), nft.verdict(nft.GOTO, "refuse")] for version in _versions(reach.own)]


def _not_closed(reach: Reach) -> list[nft.Rule]:
    opened = [[*nft.to(version, "public"), nft.verdict(nft.ACCEPT)] for version in _versions(reach.public)]
    return [*opened, *([*nft.to(version, "closed"), nft.verdict(nft.GOTO, "refuse")] for version in (4, 6))]


def _within_limits(limits: ConnectionLimits) -> list[nft.Rule]:
    at_once = nft.more_connections_than(limits.at_once)
    rate = nft.faster_than(limits.per_second, limits.burst)
    return [
        [*nft.each_source(version, f"{meter}{version}", limit), nft.verdict(nft.GOTO, "limited")]
        for version in (4, 6)
        for meter, limit in (("connections", at_once), ("rate", rate))
    ]
