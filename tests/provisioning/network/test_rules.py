"""The bytes of our rules are what Linux takes, sets hold their edges, and a batch is in force whole or not at all."""

import os
import socket
from dataclasses import replace
from functools import partial
from ipaddress import ip_address, ip_network

import pytest

from podflare_nb.protocol.egress import networks
from podflare_nb.provisioning.network import links, namespaces, nftables, rules
from podflare_nb.provisioning.network.addresses import Reach
from podflare_nb.provisioning.network.config import ConnectionLimits, NetworkConfig
from podflare_nb.provisioning.network.netlink import NETLINK_ROUTE, Netlink

from ...faults.traces import until
from .lab import PUBLIC, PUBLIC_6, Target, reached
from .netfilter_dump import elements, tables
from .netfilter_dump import rules as rules_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
FULL = Reach(
    public=networks(["192.0.2.0/24", "2001:db8::/32"]), private=networks(["10.0.0.0/8", "fd00::/8"]),
    own=frozenset({ip_address("93.184.216.77"), ip_address("2606:2800::77")}),
)  # fmt: skip
EDGES = ["0.0.0.0/0", "0.0.0.0/32", "255.255.255.255/32", "240.0.0.0/4", "128.0.0.0/1", "10.0.0.0/31"]
EDGES_6 = ["::/0", "::/128", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", "8000::/1", "fe80::/127"]


@pytest.fixture
def namespace():
    made = namespaces.make()
    with Netlink(NETLINK_ROUTE, made) as netlink:
        netlink.ask([links.up(links.LOOPBACK_INDEX)])
    yield made
    os.close(made)


@pytest.mark.parametrize("reach", [Reach(), FULL, replace(FULL, own=frozenset())], ids=["bare", "full", "nothing own"])
@pytest.mark.parametrize(
    "make",
    [
        rules.sandbox_rules,
        lambda reach: rules.router_rules(reach, 2, ConnectionLimits()),
        lambda reach: rules.router_rules(reach, 2, ConnectionLimits(), bare=True),
        lambda reach: rules.host_rules("t", reach, 9, networks(["169.254.64.1", "fd00::1"]), {}),
        lambda reach: rules.host_rules("t", reach, 9, networks(["169.254.64.1"]), {4: {2, 3}, 6: set()}),
        lambda reach: rules.host_rules("t", reach, 9, networks(["169.254.64.1"]), {}, bare=True),
        lambda _: rules.redirecting_rules([*networks(EDGES[1:3]), *networks(EDGES_6[1:3])]),
    ],
)  # fmt: skip
def test_linux_takes_the_rules(namespace, make, reach):
    table = make(reach)
    with nftables.open_netlink(namespace) as netlink:
        table.commit(netlink)
        assert tables(namespace) == [table.name]
        assert rules_of(namespace)


@pytest.mark.parametrize("text", [*EDGES, *EDGES_6])
def test_a_set_holds_a_range_to_its_very_edges(namespace, text):
    network = ip_network(text)
    table = nftables.Table("t")
    assert table.ranges("edge", [network]) == [network.version]
    with nftables.open_netlink(namespace) as netlink:
        table.commit(netlink)
    keys = elements("t", f"edge{network.version}", namespace)
    assert network.network_address.packed in keys
    after = int(network.broadcast_address) + 1
    if after <= 2**network.max_prefixlen - 1:
        assert after.to_bytes(len(keys[0]), "big") in keys
    else:
        assert keys == [network.network_address.packed]


@pytest.mark.parametrize(
    ("closed", "address", "refused"),
    [("127.5.0.0/16", "127.5.0.0", True), ("127.5.0.0/16", "127.5.255.255", True),
     ("127.5.0.0/16", "127.4.255.255", False), ("127.5.0.0/16", "127.6.0.0", False),
     ("0.0.0.0/0", "127.9.9.9", True), ("127.5.5.5/32", "127.5.5.5", True),
     ("127.5.5.5/32", "127.5.5.6", False), ("::/0", "::1", True), ("::1/128", "::1", True), ("::2/127", "::1", False)],
)  # fmt: skip
def test_a_packet_meets_exactly_its_range(namespace, closed, address, refused):
    network = ip_network(closed)
    table = nftables.Table("t")
    table.ranges("closed", [network])
    rule = [*nftables.to(network.version, "closed"), nftables.reject()]
    table.chain("output", [rule], hook="output")
    with nftables.open_netlink(namespace) as netlink:
        table.commit(netlink)
    assert (not heard(namespace, address)) == refused


def heard(namespace, address):
    """Whether a datagram to an address of loopback arrives."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with (
        namespaces.open_socket(namespace, family, socket.SOCK_DGRAM) as server,
        namespaces.open_socket(namespace, family, socket.SOCK_DGRAM) as client,
    ):
        server.bind((address, 7000))
        server.settimeout(0.5)  # what is refused is refused when it is sent
        try:
            client.sendto(b"?", (address, 7000))
            return server.recv(10) == b"?"
        except OSError:
            return False


def test_a_batch_with_a_mistake_changes_nothing(namespace):
    table = nftables.Table("t")
    table.chain("output", [[nftables.verdict(nftables.GOTO, "nowhere")]], hook="output")
    with nftables.open_netlink(namespace) as netlink:
        with pytest.raises(OSError, match="netlink message 3"):
            table.commit(netlink)
        assert tables(namespace) == []
        rules.sandbox_rules(Reach()).commit(netlink)
    assert tables(namespace) == [rules.TABLE]


def test_a_table_with_an_owner_goes_with_its_socket_and_nobody_else_changes_it(namespace):
    table = rules.host_rules("t", Reach(), 9, networks(["169.254.64.1"]), {})
    owner = nftables.open_netlink(namespace)
    table.commit(owner)
    more = nftables.Table("t")
    more.chain("late", [], hook="input")
    with nftables.open_netlink(namespace) as other, pytest.raises(PermissionError):
        more.commit(other)
    assert tables(namespace) == ["t"]
    owner.close()
    assert tables(namespace) == []


def test_the_same_bytes_are_good_for_every_sandbox():
    assert rules.sandbox_rules(FULL).messages() == rules.sandbox_rules(FULL).messages()


CONNECT_MANY = """
import errno, json, socket
kept = []
def answers(address, number):
    found = []
    for _ in range(number):
        kept.append(socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET))
        kept[-1].settimeout(20)
        found.append(errno.errorcode.get(kept[-1].connect_ex((address, 7000)), "connected"))
    return found
"""


@pytest.fixture(scope="module")
def limited(lab):
    limits = ConnectionLimits(at_once=10, per_second=1000, burst=1000)
    running = lab.start(network=NetworkConfig(limits=limits))
    yield running
    running.close()


@pytest.fixture
def told_to(limited):
    """A sandbox, and what is told of its connections."""
    inside, heard = limited.sandbox(True), []
    inside.kernel.network.listeners.add(heard.extend)
    yield inside, heard
    inside.close()


@pytest.mark.parametrize("address", [PUBLIC, PUBLIC_6])
def test_over_a_limit_connections_are_refused_at_once_and_not_longer_than_that(limited, told_to, address):
    inside, heard = told_to
    answers = inside.told(f"{CONNECT_MANY}print(json.dumps(answers('{address}', 14)))")
    assert answers == ["connected"] * 10 + ["ECONNREFUSED"] * 4
    neighbour = limited.sandbox(True)
    others = []
    neighbour.kernel.network.listeners.add(others.extend)
    assert reached(neighbour.probe([Target("neighbour", address)])["neighbour"])
    until(partial(count_is, heard, 4), 30, "what was refused is told")
    neighbour.close()
    assert of_limits(others) == []


def test_how_many_a_limit_refused_is_told_again_when_there_are_more(told_to):
    inside, heard = told_to
    inside.run(CONNECT_MANY)
    for first, more in ((10, 3), (0, 2)):
        inside.run(f"answers('{PUBLIC}', {first + more})")
        until(partial(count_is, heard, more), 30, f"{more} are told")
        for record in of_limits(heard):  # two, if it was read in between
            assert (record["host"], record["port"]) == ("any", None)
            assert f"{record['count']} new connection" in record["reason"]
            assert "10 at once, and 1000 new ones a second (1000 in a burst)" in record["reason"]
        heard.clear()


def of_limits(heard):
    return [each for each in heard if "count" in each and each["verdict"] == "refused"]


def count_is(heard, count):
    return sum(each["count"] for each in of_limits(heard)) == count
