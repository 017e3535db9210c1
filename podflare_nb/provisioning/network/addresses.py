"""Which addresses count as the public internet, and which a tenant may name. Pure.

What is not public is what the IANA special-purpose registries (RFC 6890 and its successors) do not call globally
reachable, multicast, and addresses by which clouds talk to their machines. Of IPv6, only 2000::/3 is unicast that is
routed (RFC 4291); what holds an IPv4 address in it (6to4, Teredo, NAT64) is not public, whatever that address is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from ...protocol.egress import Address, Egress, Network, RangeRule

NOT_PUBLIC_4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared (carriers; some clouds' metadata)
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # a cloud's wire server, though its range is public
        "169.254.0.0/16",  # link-local (most clouds' metadata)
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments (a cloud's metadata)
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks; sandboxes' own addresses
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
NOT_PUBLIC_6 = tuple(
    IPv6Network(text)
    for text in (
        "::/3",  # unspecified, loopback, IPv4-mapped, NAT64, discard
        "2001::/23",  # protocol assignments, Teredo
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
        "4000::/2",  # not assigned
        "8000::/1",  # not assigned, unique local, link-local, multicast
    )
)
MULTICAST = (IPv4Network("224.0.0.0/4"), IPv6Network("ff00::/8"))
NEVER = (IPv4Network("0.0.0.0/8"), IPv4Network("127.0.0.0/8"), IPv6Network("::/127"), *MULTICAST)
"""What no operator can open: these mean the machine that is asked, or many."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What the operator says of addresses.

    ``public``: reserved ranges that are to count as public; ``private``: ranges that tenants may name in ``allow``;
    ``own``: the host's addresses, which nobody reaches whatever range they are in.
    """

    public: tuple[Network, ...] = ()
    private: tuple[Network, ...] = ()
    own: frozenset[Address] = frozenset()

    def is_public(self, address: Address) -> bool:
        """Whether ``true`` and names may lead there."""
        if address in self.own or _in(address, NEVER):
            return False
        return _in(address, self.public) or not _in(address, NOT_PUBLIC_4 + NOT_PUBLIC_6)

    def may_be_named(self, address: Address) -> bool:
        """Whether a rule that names this address, or a range around it, may lead there."""
        if address in self.own or _in(address, NEVER):
            return False
        return self.is_public(address) or _in(address, self.private)

    def refused_rule(self, egress: Egress) -> RangeRule | None:
        """The first rule all of whose addresses are closed to tenants; None if there is none."""
        for rule in egress.rules:
            if isinstance(rule, RangeRule) and self._is_closed(rule.network):
                return rule
        return None

    def _is_closed(self, network: Network) -> bool:
        open_to_all = _overlaps(network, (*self.public, *self.private))
        closed = not open_to_all and _within(network, NOT_PUBLIC_4 + NOT_PUBLIC_6)
        return closed or _within(network, NEVER)


def _in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _overlaps(network: Network, others: Iterable[Network]) -> bool:
    return any(network.version == other.version and network.overlaps(other) for other in others)


def _within(network: Network, others: Iterable[Network]) -> bool:
    return any(network.version == other.version and network.subnet_of(other) for other in others)  # type: ignore[arg-type]  # of one version
