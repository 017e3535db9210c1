"""Links, addresses and routes in namespaces of the test's own."""

import os
import socket
from contextlib import contextmanager
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest

from podflare_nb.provisioning.network import links, namespaces
from podflare_nb.provisioning.network.netlink import NETLINK_ROUTE, Netlink

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
SECONDS = 60
ATTEMPTS = 100
"""Where Linux takes an address in later, from a work queue, a part of the first packets is lost."""
HARDWARE = bytes.fromhex("020000000001")


@contextmanager
def wired():
    """Two namespaces, wired: link 5 here, link 6 there."""
    near, far = namespaces.make(), namespaces.make()
    with Netlink(NETLINK_ROUTE, near) as here, Netlink(NETLINK_ROUTE, far) as there:
        here.ask([links.wire(links.End("near", 5, near), links.End("far", 6, far), HARDWARE, 9000), links.up(5)])
        there.ask([links.up(6), links.up(1)])
        links.settle(here, 5)
        links.settle(there, 6)
        here.ask(links.addresses(5, [ip_interface("198.18.0.1/32"), ip_interface("fd00::1/128")]))
        there.ask(links.addresses(6, [ip_interface("198.18.0.2/32"), ip_interface("fd00::2/128")]))
        here.ask([links.route(5, ip_network("0.0.0.0/0")), links.route(5, ip_network("::/0"))])
        there.ask([links.route(6, ip_network("198.18.0.1/32")), links.route(6, ip_network("fd00::1/128"))])
        yield near, far, here
    os.close(near)
    os.close(far)


@pytest.fixture
def pair():
    with wired() as made:
        yield made


@pytest.mark.parametrize("to", ["198.18.0.2", "fd00::2"])
def test_the_first_packet_arrives_without_anybody_being_asked_for_an_address(to):
    for _ in range(ATTEMPTS):
        with wired() as (near, far, _):
            assert first_packet(near, far, to) == b"first"
            with namespaces.entered(near):
                assert len(Path("/proc/thread-self/net/arp").read_text().splitlines()) == 1  # only its heading


def first_packet(near, far, to):
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    with namespaces.open_socket(far, family, socket.SOCK_DGRAM) as there:
        there.bind((to, 7000))
        there.settimeout(SECONDS)
        with namespaces.open_socket(near, family, socket.SOCK_DGRAM) as here:
            here.sendto(b"first", (to, 7000))
            return there.recv(100)


def test_it_is_seen_with_addresses_ways_out_and_mtu(pair):
    near, far, _ = pair
    seen = links.look_around(near)
    assert {str(each) for each in seen.addresses} >= {"198.18.0.1", "fd00::1"}
    assert seen.ways_out == {4: frozenset({"near"}), 6: frozenset({"near"})}
    assert seen.mtu == 9000
    assert links.look_around(far).ways_out == {4: frozenset(), 6: frozenset()}
    assert links.look_around(far).mtu == 1500


def test_bytes_are_counted_both_ways(pair):
    near, far, here = pair
    before = links.traffic(here, 5)
    with namespaces.open_socket(far, socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.bind(("198.18.0.2", 7000))
        there.settimeout(SECONDS)
        with namespaces.open_socket(near, socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(bytes(1000), ("198.18.0.2", 7000))
            _, where = there.recvfrom(2000)
            there.sendto(bytes(500), where)
    received, sent = (now - then for now, then in zip(links.traffic(here, 5), before, strict=True))
    assert 1000 <= sent < 1500  # Linux itself says a little
    assert 500 <= received < 1000


def test_without_its_route_nothing_goes_and_a_wire_goes_with_one_end(pair):
    near, far, here = pair
    here.ask([links.unroute(5, ip_network("0.0.0.0/0"))])
    with (
        namespaces.open_socket(near, socket.AF_INET, socket.SOCK_DGRAM) as sender,
        pytest.raises(OSError, match="unreach"),
    ):
        sender.sendto(b"x", ("198.18.0.2", 7000))
    here.ask([links.unwire(5)])
    for namespace in (near, far):
        with namespaces.entered(namespace):
            assert [name for _, name in socket.if_nameindex()] == ["lo"]


def test_the_failed_message_of_a_batch_is_named_and_the_socket_goes_on(pair):
    _, _, here = pair
    with pytest.raises(FileExistsError, match="netlink message 1"):
        here.ask([links.up(5), *links.addresses(5, [ip_interface("198.18.0.1/32")]), links.up(5)])
    here.ask([links.up(5)])
    with pytest.raises(OSError, match="No such device"):
        links.traffic(here, 77)
    here.ask([links.up(5)])


def test_a_namespace_lives_as_long_as_what_is_of_it():
    made = namespaces.make()
    before = os.stat("/proc/thread-self/ns/net").st_ino  # noqa: PTH116
    with namespaces.open_socket(made, socket.AF_INET, socket.SOCK_STREAM) as sock:
        os.close(made)
        with Netlink(NETLINK_ROUTE) as netlink:
            netlink.ask([])
        assert os.stat("/proc/thread-self/ns/net").st_ino == before  # noqa: PTH116 - the caller is where it was
        sock.bind(("127.0.0.1", 0))


def test_who_cannot_enter_stays_where_it_is():
    before = os.stat("/proc/thread-self/ns/net").st_ino  # noqa: PTH116
    read, write = os.pipe()
    try:
        with pytest.raises(OSError, match="Invalid argument"), namespaces.entered(read):
            pass
    finally:
        os.close(read)
        os.close(write)
    assert os.stat("/proc/thread-self/ns/net").st_ino == before  # noqa: PTH116


def test_a_link_that_has_gone_meanwhile_has_no_index():
    assert links.indices(["lo", "gone-meanwhile"]) == {socket.if_nametoindex("lo")}
