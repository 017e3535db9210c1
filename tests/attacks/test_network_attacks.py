"""From a sandbox that may reach the internet, packets to all that is not the internet: three layers, each alone enough.

The negative control of each is the same attack with all layers off: it gets through.
"""

import json
import os

import pytest

from podflare_nb.provisioning.network import links

from ..provisioning.network.internet_servers import ECHO, start_echo
from ..provisioning.network.lab import (
    ELSEWHERE,
    ELSEWHERE_6,
    HOST_PRIVATE,
    HOST_PRIVATE_6,
    HOST_PUBLIC,
    HOST_PUBLIC_6,
    LAYERS,
    NOT_PUBLIC,
    PUBLIC,
    PUBLIC_6,
    Target,
    only,
    reached,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="jails need root")
KINDS = ("tcp", "udp", "icmp")
PUBLIC_TARGETS = {
    "the internet": PUBLIC,
    "the internet by IPv6": PUBLIC_6,
    "behind another link": ELSEWHERE,
    "behind another link by IPv6": ELSEWHERE_6,
}
OWN = {
    "the host's public address": HOST_PUBLIC,
    "the host's public IPv6 address": HOST_PUBLIC_6,
    "the host's private address": HOST_PRIVATE,
    "the host's private IPv6 address": HOST_PRIVATE_6,
}
MAPPED = {f"{name}, mapped": f"::ffff:{address}" for name, address in {**NOT_PUBLIC, **OWN}.items() if "." in address}
UPLINKS = ("the host's address to the router", "the host's IPv6 address to the router")
ROUTERS = ("the router", "the router by IPv6")
NEIGHBOURS = ("a neighbour", "a neighbour by IPv6")
INNER = (*ROUTERS, *NEIGHBOURS)
"""What the host's edge never sees."""
NAMES = (*NOT_PUBLIC, *OWN, *MAPPED, *UPLINKS, *INNER)
ATTACKS = [(name, kind) for name in NAMES for kind in KINDS if not (name in MAPPED and kind == "icmp")]
REFUSED = {"EPERM", "EACCES", "EHOSTUNREACH", "ECONNREFUSED"}
SERVER = f"""
import asyncio, socket, threading
def serve(address):
    def tcp():
        server = socket.create_server((address, {ECHO}), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
        while True:
            sock, _ = server.accept()
            sock.sendall(b"reached " + address.encode())
            sock.close()
    def udp():
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((address, {ECHO}))
        while True:
            sock.sendto(b"reached " + address.encode(), sock.recvfrom(100)[1])
    for work in (tcp, udp):
        threading.Thread(target=work, daemon=True).start()
"""
OWN_ADDRESSES = f"""
import json, socket
def own(family, to):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.connect((to, 9))
    return sock.getsockname()[0]
print(json.dumps([own(socket.AF_INET, "{PUBLIC}"), own(socket.AF_INET6, "{PUBLIC_6}")]))
"""


def uplink(host, router):
    """The addresses of both ends of the wire between them, IPv4 and IPv6."""
    at_host = links.look_around(host.namespace).addresses
    pairs = []
    for address in links.look_around(router.namespace).addresses:
        other = type(address)(int(address) ^ 1)  # the wire's range holds two
        if other in at_host:
            pairs.append((str(other), str(address)))
    return [list(each) for each in zip(*sorted(pairs, key=lambda pair: ":" in pair[0]), strict=True)]


class Facts:
    """The answers to all attacks of a sandbox whose supervisor leaves layers out; asked once."""

    def __init__(self, lab, supervisor):
        self.sandbox, self.neighbour = supervisor.sandbox(True), supervisor.sandbox(True)
        self.own, self.others = self.sandbox.told(OWN_ADDRESSES), self.neighbour.told(OWN_ADDRESSES)
        self.neighbour.run(SERVER + "\n".join(f"serve({address!r})" for address in self.others))
        self.router = supervisor.router()
        at_host, at_router = uplink(lab.host, self.router)
        lab.host.serve(start_echo(at_host, streams=False))
        self.router.serve(start_echo(at_router))
        self.addresses = {
            **NOT_PUBLIC, **OWN, **MAPPED, **dict(zip(UPLINKS, at_host, strict=True)),
            **dict(zip(ROUTERS, at_router, strict=True)), **dict(zip(NEIGHBOURS, self.others, strict=True)),
            **PUBLIC_TARGETS,
        }  # fmt: skip
        targets = [Target(name, self.addresses[name], kind) for name, kind in ATTACKS]
        targets += [Target(name, self.addresses[name], kind) for name in PUBLIC_TARGETS for kind in KINDS]
        listed = [Target(json.dumps([each.name, each.kind]), each.address, each.kind) for each in targets]
        self.answers = {tuple(json.loads(key)): answer for key, answer in self.sandbox.probe(listed).items()}

    def close(self):
        self.sandbox.close()
        self.neighbour.close()
        self.router.close()


@pytest.fixture(scope="module")
def facts(lab, supervisors):
    found = {}

    def get(*without):
        if without not in found:
            found[without] = None  # asked once, whatever comes of it
            found[without] = Facts(lab, supervisors(*without))
        assert found[without] is not None
        return found[without]

    yield get
    for each in filter(None, found.values()):
        each.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PUBLIC_TARGETS)
@pytest.mark.parametrize("without", [(), *map(only, LAYERS), LAYERS], ids=lambda each: " ".join(each) or "nothing off")
def test_what_is_public_is_reached(facts, name, kind, without):
    assert reached(facts(*without).answers[name, kind])


@pytest.mark.parametrize(("name", "kind"), ATTACKS)
def test_what_is_not_public_is_refused_at_once(facts, name, kind):
    assert facts().answers[name, kind] in REFUSED


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(("name", "kind"), ATTACKS)
def test_each_layer_alone_stops(facts, name, kind, layer):
    stopped = not reached(facts(*only(layer)).answers[name, kind])
    assert stopped == (layer != "host_rules" or name not in INNER)


@pytest.mark.parametrize(("name", "kind"), ATTACKS)
def test_without_any_layer_it_is_reached(facts, name, kind):
    assert reached(facts(*LAYERS).answers[name, kind])
