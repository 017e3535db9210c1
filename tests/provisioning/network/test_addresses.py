"""Which addresses are public: against the IANA registries, what Python knows of them, and the operator's word."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from podflare_nb.protocol.egress import Egress, networks
from podflare_nb.provisioning.network.addresses import MULTICAST, NEVER, NOT_PUBLIC_4, NOT_PUBLIC_6, Reach

REACH = Reach()
REGISTRY = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
    "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32", "::/128", "::1/128", "::ffff:0:0/96",
    "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/32", "2001:2::/48", "2001:db8::/32",
    "2001:10::/28", "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
]  # fmt: skip
"""The special-purpose registries (IPv4: RFC 6890 and later; IPv6 likewise) where "globally reachable" is not true, and
what holds IPv4 addresses, and multicast."""
CLOUDS = [
    "169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254",
    "fe80::a9fe:a9fe",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "93.184.216.34", "100.63.255.255", "100.128.0.0",
    "126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0",
    "191.255.255.255", "192.0.1.0", "192.0.3.0", "192.167.255.255", "192.169.0.0", "198.17.255.255",
    "198.20.0.0", "203.0.112.255", "203.0.114.0", "223.255.255.255", "2606:2800:220:1::34", "2001:200::",
    "2001:4860:4860::8888", "2003::", "2a00::", "3ffe:ffff::", "3fff:1000::", "2000::", "2400:cb00::",
]  # fmt: skip


@pytest.mark.parametrize("text", REGISTRY)
def test_what_the_registries_call_not_reachable_is_not_public_from_its_first_to_its_last_address(text):
    network = ip_network(text)
    assert not REACH.is_public(network[0])
    assert not REACH.is_public(network[-1])
    assert any(network.version == each.version and network.subnet_of(each) for each in (*NOT_PUBLIC_4, *NOT_PUBLIC_6))


@pytest.mark.parametrize("text", CLOUDS)
def test_what_clouds_talk_by_is_not_public(text):
    assert not REACH.is_public(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_what_lies_just_beside_is_public(text):
    assert REACH.is_public(ip_address(text))


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
@example(ip_address("0.0.0.0"))
@example(ip_address("255.255.255.255"))
@example(ip_address("::"))
@example(ip_address("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"))
def test_nothing_that_python_calls_private_is_public(address):
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert not REACH.is_public(address)


def test_no_ipv6_address_that_holds_an_ipv4_one_is_public():
    holders = [
        IPv6Address("::ffff:8.8.8.8"), IPv6Address("::8.8.8.8"), IPv6Address("64:ff9b::8.8.8.8"),
        IPv6Address(0x2002 << 112 | int(IPv4Address("8.8.8.8")) << 80), IPv6Address("2001::808:808"),
    ]  # fmt: skip
    assert [REACH.is_public(each) for each in holders] == [False] * len(holders)


def test_no_range_stands_in_another():
    for ranges in (NOT_PUBLIC_4, NOT_PUBLIC_6):
        assert not any(a.overlaps(b) for a in ranges for b in ranges if a is not b)


OPENED = Reach(
    public=networks(["192.0.2.0/24", "127.0.0.0/8", "224.0.0.0/4"]),
    private=networks(["10.0.0.0/8", "fd00::/8", "0.0.0.0/0", "::/0"]),
    own=frozenset({ip_address("192.0.2.1"), ip_address("10.0.0.1"), ip_address("93.184.216.34")}),
)


@pytest.mark.parametrize(
    ("text", "public", "named"),
    [("192.0.2.9", True, True), ("192.0.2.1", False, False), ("10.0.0.9", False, True), ("10.0.0.1", False, False),
     ("93.184.216.34", False, False), ("93.184.216.35", True, True), ("fd00::1", False, True),
     ("172.16.0.1", False, True), ("127.0.0.1", False, False), ("::1", False, False), ("::", False, False),
     ("0.0.0.0", False, False), ("224.0.0.1", False, False), ("ff02::1", False, False)],
)  # fmt: skip
def test_operators_open_ranges_but_never_the_host_itself_or_many(text, public, named):
    assert (OPENED.is_public(ip_address(text)), OPENED.may_be_named(ip_address(text))) == (public, named)


@pytest.mark.parametrize(
    ("reach", "rule", "refused"),
    [(REACH, "10.0.0.0/8", True), (REACH, "10.1.2.3", True), (REACH, "169.254.169.254:80", True), (REACH, "::1", True),
     (REACH, "0.0.0.0/0", False), (REACH, "8.8.8.8", False), (REACH, "name.example", False), (REACH, "fd00::/8", True),
     (Reach(private=networks(["10.1.0.0/16"])), "10.1.2.3", False),
     (Reach(private=networks(["10.1.0.0/16"])), "10.2.0.0/16", True),
     (Reach(private=networks(["10.1.0.0/16"])), "10.0.0.0/8", False),
     (OPENED, "127.0.0.1", True), (OPENED, "224.0.0.0/4", True), (OPENED, "172.16.0.0/12", False)],
)  # fmt: skip
def test_a_rule_none_of_which_can_be_reached_is_refused(reach, rule, refused):
    found = reach.refused_rule(Egress.from_json({"allow": ["a.example", rule]}))
    assert (found is not None) == refused
    assert found is None or str(found) == rule


def test_what_nobody_can_open_are_loopback_unspecified_and_many():
    assert set(MULTICAST) < set(NEVER)
    assert all(isinstance(each, IPv4Network | IPv6Network) for each in NEVER)
