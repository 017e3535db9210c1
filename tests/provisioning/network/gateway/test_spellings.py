"""However it is spelled, by name or with the whole internet allowed, nothing reaches what is not public.

Each attack has its control: the same one where the operator calls the address public, and then it gets through.
"""

import contextlib
import socket

import pytest

from podflare_nb.provisioning.network import namespaces

from .internet import DOCUMENTATION, INTERNET, METADATA, NAT64, PRIVATE, PRIVATE_6, PUBLIC, SHARED, connected, exchange
from .servers import HttpServer, Stub, echo

LIKE_PUBLIC = ["10.0.0.0/8", "169.254.0.0/16", "100.64.0.0/10", "192.0.2.0/24", "fd00::/8", "64:ff9b::/96"]
"""What the control's operator calls public."""


def reached(sandbox, host, port=80):
    """The address that answered to a request for it, by either way; None if none did."""
    authority = f"{host}:{port}"
    found = set()
    rest = f"HTTP/1.1\r\nHost: {authority}\r\n"
    closing = f"{rest}Connection: close\r\n\r\n"
    for request in (f"GET http://{authority}/ {closing}", f"CONNECT {authority} {rest}\r\nGET / {closing}"):
        answer = exchange(sandbox, request.encode())
        found.add(answer.partition(b"reached ")[2].partition(b" ")[0].decode() or None)
    assert len(found) == 1, found
    return found.pop()


NAMES = {
    "private.example.com": PRIVATE,
    "PRIVATE.Example.COM.": PRIVATE,
    "metadata.example.com": METADATA,
    "shared.example.com": SHARED,
    "documentation.example.com": DOCUMENTATION,
    "private6.example.com": PRIVATE_6,
    "nat64.example.com": NAT64,
    "mapped.example.com": PRIVATE,
}
LITERALS = {
    PRIVATE: PRIVATE,
    f"[::ffff:{PRIVATE}]": PRIVATE,
    "[::FFFF:0a01:0203]": PRIVATE,
    METADATA: METADATA,
    f"[{PRIVATE_6}]": PRIVATE_6,
    f"[{NAT64}]": NAT64,
    "[64:ff9b::93.184.216.34]": NAT64,
    SHARED: SHARED,
}


@pytest.mark.usefixtures("http_servers")
@pytest.mark.parametrize("egress", [True, {"allow": ["*.example.com", "10.0.0.0/8", "fd00::/8", "169.254.169.254"]}])
def test_a_name_leads_to_no_address_that_is_not_public(start_gateway, egress):
    sandbox = start_gateway(private_networks=["10.0.0.0/8", "fd00::/8"]).open(egress)
    assert {name: reached(sandbox, name) for name in NAMES} == dict.fromkeys(NAMES)
    control = start_gateway(public_networks=LIKE_PUBLIC).open(egress, "net2")
    assert {name: reached(control, name) for name in NAMES} == NAMES


@pytest.mark.usefixtures("http_servers")
def test_an_address_in_whatever_spelling_is_no_way_around(start_gateway):
    sandbox = start_gateway(private_networks=["10.0.0.0/8", "fd00::/8"]).open(INTERNET)
    assert {host: reached(sandbox, host) for host in LITERALS} == dict.fromkeys(LITERALS)
    control = start_gateway(public_networks=LIKE_PUBLIC).open(INTERNET, "net2")
    assert {host: reached(control, host) for host in LITERALS} == LITERALS


NO_SPELLINGS = [
    "10.66051", "167838211", "0x0a010203", "0x0a.1.2.3", "012.1.2.3", "10.1.515", "0xA010203.", "10.1.2.3.",
    "\uff11\uff10.1.2.3", "10\u30021\u30022\u30023", "[::ffff:10.1.2.3%25lan]", "[fd12:3456::1%lan]",
    "10.1.2.3\0.example.com", "user@10.1.2.3", "www.example.com@10.1.2.3", "10.1.2.3#.example.com",
    "10.1.2.3\\.example.com", "10.1.2.3%00.example.com", "10.1.2.3%2f.example.com",
]  # fmt: skip


@pytest.mark.usefixtures("http_servers")
def test_other_spellings_of_an_address_reach_nothing_at_all(start_gateway):
    """Not even where the address is open: they are no spelling, or (a final dot) that of the address."""
    sandbox = start_gateway().open({"allow": ["*.example.com"]})
    assert {host: reached(sandbox, host) for host in NO_SPELLINGS} == dict.fromkeys(NO_SPELLINGS)
    opened = start_gateway(public_networks=LIKE_PUBLIC).open(INTERNET, "net2")
    assert {host for host in NO_SPELLINGS if reached(opened, host)} == {"10.1.2.3."}
    assert reached(opened, PRIVATE) == PRIVATE


LOOPBACKS = ["127.0.0.1", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "loopback.example.com", "localhost",
             "127.0.0.53", "224.0.0.1", "[ff02::1]", "0", "127.1", "[::127.0.0.1]"]  # fmt: skip


def test_the_gateways_own_loopback_is_open_to_nobody(world, serve, start_gateway):
    """Not even to an operator who calls it public. The control: whoever is there gets through."""
    for address in ("127.0.0.1", "::1"):
        serve(HttpServer(world.listen(address, 80, world.router)))
    everything = ["0.0.0.0/0", "::/0"]
    gateway = start_gateway(public_networks=everything, private_networks=everything)
    for name, egress in (("net1", True), ("net2", {"allow": ["*.example.com", "localhost", *everything]})):
        sandbox = gateway.open(egress, name)
        assert {host: reached(sandbox, host) for host in LOOPBACKS} == dict.fromkeys(LOOPBACKS)
    assert b"reached 127.0.0.1" in inside(world.router)


def inside(namespace):
    with contextlib.closing(namespaces.open_socket(namespace, socket.AF_INET, socket.SOCK_STREAM)) as sock:
        sock.settimeout(10)
        sock.connect(("127.0.0.1", 80))
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: sock.recv(4096), b""))


@pytest.mark.usefixtures("http_servers")
def test_the_hosts_own_addresses_are_open_to_nobody(start_gateway):
    opened = {"public_networks": LIKE_PUBLIC, "private_networks": ["0.0.0.0/0"]}
    hosts = ("files.example.org", PUBLIC, "private.example.com", PRIVATE)
    egress = {"allow": ["files.example.org", "*.example.com", "0.0.0.0/0"]}
    gateway = start_gateway(own_addresses=[PUBLIC, PRIVATE], **opened)
    for name, policy in (("net1", True), ("net2", egress)):
        sandbox = gateway.open(policy, name)
        assert [reached(sandbox, host) for host in hosts] == [None] * 4
    control = start_gateway(**opened).open(egress, "net3")
    assert [reached(control, host) for host in hosts] == [PUBLIC, PUBLIC, PRIVATE, PRIVATE]


def test_a_redirect_is_a_new_request_and_checked_as_such(start_gateway, http_servers):
    url = f"http://files.example.org/redirect?http://{METADATA}/latest"
    done = start_gateway().open(INTERNET).run("curl", "-sSL", url)
    assert "not a public address" in done.stdout
    assert http_servers[METADATA].seen == []
    done = start_gateway(public_networks=LIKE_PUBLIC).open(INTERNET, "net2").run("curl", "-sSL", url)
    assert f"reached {METADATA}" in done.stdout


@pytest.mark.usefixtures("http_servers")
def test_only_the_public_addresses_of_a_name_are_tried(start_gateway, world, serve):
    private = serve(Stub(world.listen(PRIVATE, 8083), echo))
    sandbox = start_gateway().open(INTERNET)
    answer = exchange(sandbox, b"CONNECT mixed.example.com:8083 HTTP/1.0\r\n\r\n")
    assert b"502" in answer
    assert private.connections == 0
    connected(start_gateway(public_networks=LIKE_PUBLIC).open(INTERNET, "net2"), "mixed.example.com:8083").close()


@pytest.mark.usefixtures("http_servers")
def test_a_range_is_reached_by_its_addresses_if_the_operator_lets_tenants_name_it(start_gateway):
    egress = {"allow": ["10.1.0.0/16:80", f"[{PRIVATE_6}]"]}
    named = start_gateway(private_networks=["10.0.0.0/8", "fd00::/8"]).open(egress)
    hosts = (PRIVATE, f"[::ffff:{PRIVATE}]", f"[{PRIVATE_6}]", METADATA, PUBLIC, "private.example.com")
    assert [reached(named, host) for host in hosts] == [PRIVATE, PRIVATE, PRIVATE_6, None, None, None]
    unnamed = start_gateway().open(egress, "net2")
    assert [reached(unnamed, host) for host in hosts] == [None] * 6


@pytest.mark.usefixtures("http_servers")
def test_an_empty_list_and_off_allow_nothing(start_gateway):
    gateway = start_gateway(public_networks=LIKE_PUBLIC, private_networks=LIKE_PUBLIC)
    for name, egress in (("net1", False), ("net2", {"allow": []})):
        sandbox = gateway.open(egress, name)
        assert {host: reached(sandbox, host) for host in [*NAMES, *LITERALS, "files.example.org"]} == dict.fromkeys(
            [*NAMES, *LITERALS, "files.example.org"]
        )


@pytest.mark.usefixtures("http_servers")
def test_names_beyond_ascii_have_one_spelling(gateway):
    sandbox = gateway.open({"allow": ["b\u00fccher.example"]})
    hosts = {"xn--bcher-kva.EXAMPLE.": PUBLIC, "bucher.example": None, "b\u00fccher.example": None}
    assert {host: reached(sandbox, host) for host in hosts} == hosts  # a request line is ASCII
