"""Tricks by which code in a sandbox might get round its policy: other sources and routes, its own root, lying names.

Each is shown to work where what stops it is off.
"""

import json
import os
import socket

import pytest

from podflare_nb.protocol.egress import networks
from podflare_nb.provisioning.network import namespaces
from podflare_nb.provisioning.network.config import NetworkConfig

from ..provisioning.network.internet_servers import ECHO
from ..provisioning.network.lab import (
    ELSEWHERE,
    ELSEWHERE_6,
    HOST_PUBLIC,
    LAYERS,
    NOT_PUBLIC,
    PUBLIC,
    PUBLIC_6,
    Lab,
    Target,
    only,
    reached,
)
from .attacks import POWERLESS, PRELUDE

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="jails need root")
OPERATORS_MISTAKE = NetworkConfig(public=networks(["10.0.0.0/8", "169.254.169.254/32"]))
"""What lets names lead to private addresses: the negative control of whatever looks at addresses by name."""
OPENED = NetworkConfig(private=networks(["10.0.0.0/8"]))
INNER = [(), only("sandbox_rules"), only("router_rules")]
OWN_IPV6 = f"""
sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
sock.connect(("{PUBLIC_6}", 9))
print(json.dumps(sock.getsockname()[0]))
"""
FETCH = """
import http.client, json, os, socket, urllib.error, urllib.request
def connect(target, host=None):
    # What the proxy says to CONNECT, and the banner of whoever is behind it.
    proxy = socket.create_connection(("127.0.0.53", 61128), 20)
    proxy.sendall(f"CONNECT {target} HTTP/1.1\\r\\nHost: {host or target}\\r\\n\\r\\n".encode())
    file = proxy.makefile("rb")
    status = file.readline().decode(errors="replace").strip()
    length = 0
    while (line := file.readline()) not in (b"\\r\\n", b""):
        name, _, value = line.decode().partition(":")
        length = int(value) if name.lower() == "content-length" else length
    if " 200 " not in status:
        return status + " " + file.read(length).decode(errors="replace").strip()
    proxy.sendall(b"?\\n")
    return file.readline().decode().strip()
def get(url):
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.reason}"
    except OSError as error:
        return str(getattr(error, "reason", error))
def look_up(name):
    try:
        return sorted({each[4][0] for each in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)})
    except OSError as error:
        return error.errno
"""


@pytest.fixture
def sandbox(supervisors):
    """Make sandboxes: ``sandbox(egress, *without, network=...)``; they end with the test."""
    made = []

    def make(egress, *without, network=None):
        made.append(supervisors(*without, network=network).sandbox(egress))
        return made[-1]

    yield make
    for each in made:
        each.close()


def spoofs(sandbox, without):
    """Whether an answer comes to a neighbour that asked nothing."""
    attacker, victim = sandbox(True, *without), sandbox(True, *without)
    address = victim.told(PRELUDE + OWN_IPV6)
    victim.run('import socket\nu = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)\nu.bind(("::", 5555))')
    attacker.run(f"""
import socket
u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
u.setsockopt(socket.IPPROTO_IP, 15, 1)   # IP_FREEBIND
u.bind(({address!r}, 5555))
u.sendto(b"?", ("{PUBLIC_6}", {ECHO}))
""")
    answered = attacker.probe([Target("later", PUBLIC_6, "udp")])  # what was sent before has been answered, too
    assert reached(answered["later"])
    return victim.told("""
import json
u.settimeout(1)
try:
    print(json.dumps(u.recv(100).decode()))
except OSError:
    print(json.dumps(None))
""")


@pytest.mark.parametrize("without", INNER, ids=["all layers", "the sandbox's alone", "the router's alone"])
def test_nobody_sends_in_a_neighbours_name(sandbox, without):
    assert spoofs(sandbox, without) is None


def test_without_both_layers_a_neighbour_hears_what_it_did_not_ask(sandbox):
    assert spoofs(sandbox, LAYERS).startswith("reached")


TARGET = (NOT_PUBLIC["private 10"], 7100)
SOURCE_ROUTED = f"""
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
def speak():
    sock.setsockopt(socket.IPPROTO_IP, 4, bytes([0x83, 7, 4]) + socket.inet_aton("{PUBLIC}") + b"\\1")   # LSRR
    sock.sendto(b"routed", {TARGET})
print(json.dumps(attempt(speak)))
"""


def arrives(lab, attacker, *obeying):
    """Whether a packet that says by which way it wants to go gets to a private address."""
    places = (lab.internet, *obeying)
    with namespaces.open_socket(lab.internet.namespace, socket.AF_INET, socket.SOCK_DGRAM) as heard:
        heard.bind(TARGET)
        before = [place.settings("ipv4/conf/*/accept_source_route", "1") for place in places]
        try:
            attacker.told(PRELUDE + SOURCE_ROUTED)
            assert reached(attacker.probe([Target("after it", PUBLIC, "udp")])["after it"])
            return bool(heard.recv(100))
        except BlockingIOError:
            return False
        finally:
            for place, values in zip(places, before, strict=True):
                for name, value in values.items():
                    place.setting(name, value)


@pytest.mark.parametrize("without", [(), POWERLESS], ids=["nobody may ask for it", "no router would obey"])
def test_a_way_in_the_packet_leads_nowhere(lab, sandbox, without):
    assert not arrives(lab, sandbox(True, *without))


def test_where_all_obey_it_a_way_in_the_packet_leads_to_a_private_address(lab, supervisors, sandbox):
    without = (*LAYERS, *POWERLESS)
    attacker, router = sandbox(True, *without), supervisors(*without).router()
    try:
        assert arrives(lab, attacker, lab.host, router)
    finally:
        router.close()


MULTICAST = """
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 8)
attempt(sock.sendto, b"many", ("224.0.0.251", 5353))
print(json.dumps("sent"))
"""


@pytest.mark.parametrize("without", [(), only("sandbox_rules"), LAYERS], ids=["all layers", "one", "none"])
def test_what_is_sent_to_many_stays_inside(supervisors, sandbox, without):
    """None: the control, in which the router's end of the wire gets it."""
    attacker, router = sandbox(True, *without), supervisors(*without).router()
    number = attacker.told(PRELUDE + OWN_IPV6).rpartition(":")[2]
    name = f"s{int(number, 16)}"
    try:
        with router.entered():
            heard = namespaces.open_socket(
                router.namespace, socket.AF_PACKET, socket.SOCK_RAW
            )  # ETH_P_IP: all that arrives
            heard.bind((name, 0x0800))
        assert attacker.told(PRELUDE + MULTICAST) == "sent"
        assert reached(attacker.probe([Target("after it", PUBLIC, "udp")])["after it"])
        seen = []
        try:
            while True:
                seen.append(heard.recv(2000))
        except BlockingIOError:
            heard.close()
        assert any(b"many" in packet for packet in seen) == (without == LAYERS)
        assert any(packet[30:34] == bytes(map(int, PUBLIC.split("."))) for packet in seen), "what is allowed was heard"
    finally:
        router.close()


ROOTS_WAYS = {
    "a route": """
NEW_ROUTE = struct.pack("=IHHIIBBBBBBBBI", 44, 24, 0x605, 1, 0, 2, 32, 0, 0, 254, 4, 253, 1, 0)
NEW_ROUTE += struct.pack("=HH4s", 8, 1, socket.inet_aton("10.9.9.9")) + struct.pack("=HHI", 8, 4, 1)
def change():
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        netlink.send(NEW_ROUTE)
        error = -struct.unpack_from("=i", netlink.recv(1000), 16)[0]
        if error:
            raise OSError(error, "")
""",
    "a link": """
def change():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, 0x8914, struct.pack("16sH14x", b"eth0", 0))
""",
    "an address": """
def change():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        address = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton("10.9.9.8"))
        fcntl.ioctl(sock, 0x8916, struct.pack("16s16s", b"eth0:1", address))
""",
    "a setting": """
def change():
    with open("/proc/sys/net/ipv4/conf/eth0/forwarding", "w") as file:
        file.write("1")
""",
    "rules": """
def change():
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as netlink:
        edge = struct.pack(">BBH", 0, 0, 10)
        message = lambda kind, flags, body: struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body
        delete = message(10 << 8 | 2, 5, struct.pack(">BBH", 1, 0, 0) + struct.pack("=HH", 16, 1) + b"podflare_nb\\0")
        netlink.send(message(16, 1, edge) + delete + message(17, 1, edge))
        error = -struct.unpack_from("=i", netlink.recv(1000), 16)[0]
        if error:
            raise OSError(error, "")
""",
    "a mark that rules go by": """
def change():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, 36, 7)   # SO_MARK
""",
    "transparent sockets": """
def change():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, 19, 1)   # IP_TRANSPARENT
""",
    "frames of its own": """
def change():
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0003).close()
""",
    "the network of pid 1's parent": """
def change():
    if isinstance(error := call("unshare", 0x40000000), str):
        raise OSError(getattr(errno, error), "")
""",
}
OLD_POWERS = ("proc-masks", *POWERLESS)


@pytest.mark.parametrize("way", ROOTS_WAYS)
def test_the_sandboxs_root_cannot_change(sandbox, way):
    source = f"{PRELUDE}{ROOTS_WAYS[way]}\nprint(json.dumps(attempt(change)))"
    assert sandbox(True).told(source) in {"EPERM", "EACCES", "EROFS", "EAFNOSUPPORT", "EPROTONOSUPPORT"}


@pytest.mark.parametrize("way", ROOTS_WAYS)
def test_with_the_hosts_powers_it_could_change(sandbox, way):
    source = f"{PRELUDE}{ROOTS_WAYS[way]}\nprint(json.dumps(attempt(change)))"
    assert sandbox(True, *OLD_POWERS).told(source) is None


@pytest.mark.parametrize("name", ["private", "metadata", "host", "loopback", "mapped", "nat64"])
def test_a_name_of_an_address_that_is_not_public_has_none_inside(sandbox, name):
    inside = sandbox(True)
    found = inside.told(f"{FETCH}print(json.dumps([look_up('{name}.example.org'), look_up('files.example.org')]))")
    assert isinstance(found[0], int)
    assert PUBLIC in found[1]


@pytest.mark.parametrize("name", ["private", "metadata"])
def test_where_it_counts_as_public_it_has_one(sandbox, name):
    inside = sandbox(True, network=OPERATORS_MISTAKE)
    assert inside.told(f"{FETCH}print(json.dumps(look_up('{name}.example.org')))")[0][0] == "1"


def test_of_a_name_with_both_only_the_public_address_is_told(sandbox):
    assert sandbox(True).told(f"{FETCH}print(json.dumps(look_up('mixed.example.org')))") == [PUBLIC]


SPELLED = [
    "127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "0", "[::1]", "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]", "10.9.9.9", "0xa090909", "167905545", "[::ffff:10.9.9.9]", "[64:ff9b::a09:909]", "10.9.9.9.",
    "private.example.org", "PRIVATE.Example.ORG.", "metadata.example.org", "169.254.169.254", "0251.0376.0251.0376",
    "[fd00:ec2::254]", "host.example.org", HOST_PUBLIC, "198.18.0.4", "user@10.9.9.9", "93.184.216.34@10.9.9.9",
    "10.9.9.9%00.example.org", "\uff11\uff10.9.9.9", "[fe80::1%25eth0]",
]  # fmt: skip


@pytest.mark.parametrize("egress", [True, {"allow": ["*.example.org", "0.0.0.0/0", "::/0"]}], ids=["true", "allow"])
def test_however_it_is_spelled_the_proxy_refuses(sandbox, egress):
    inside = sandbox(egress)
    asked = json.dumps([f"{name}:{ECHO}" for name in SPELLED])
    answers = inside.told(f"{FETCH}print(json.dumps([connect(each) for each in json.loads({asked!r})]))")
    got = dict(zip(SPELLED, answers, strict=True))
    assert {
        name: answer for name, answer in got.items() if not answer.startswith(("HTTP/1.1 403", "HTTP/1.1 40"))
    } == {}
    assert inside.told(f"{FETCH}print(json.dumps(connect('files.example.org:{ECHO}')))").startswith("reached")


@pytest.mark.parametrize("name", ["10.9.9.9", "private.example.org", "[::ffff:10.9.9.9]"])
def test_where_it_counts_as_public_the_proxy_connects(sandbox, name):
    inside = sandbox({"allow": ["*.example.org", "10.9.9.9"]}, network=OPERATORS_MISTAKE)
    assert inside.told(f"{FETCH}print(json.dumps(connect('{name}:{ECHO}')))").startswith("reached 10.9.9.9")


def test_a_name_that_leads_elsewhere_the_second_time_is_refused_then(lab, sandbox):
    inside = sandbox({"allow": ["rebinding.example.org"]})
    ask = f"{FETCH}print(json.dumps(connect('rebinding.example.org:{ECHO}')))"
    first = inside.told(ask)
    assert first.startswith("reached 93.184.216.34")
    assert lab.names.asked.count("rebinding.example.org") == 1, "it is resolved once, and that is connected to"
    assert "403" in (second := inside.told(ask))
    assert "10.9.9.9" in second


def test_a_redirect_to_what_is_not_allowed_is_refused(sandbox):
    inside = sandbox({"allow": ["files.example.org:80"]})
    there = "http://files.example.org/to?url=http://{}/"
    urls = [there.format(each) for each in ("www.example.com", "169.254.169.254", "10.9.9.9", "private.example.org")]
    answers = inside.told(f"{FETCH}print(json.dumps([get(each) for each in {urls!r}]))")
    assert [answer[:3] for answer in answers] == ["403"] * 4
    inside.set_egress({"allow": ["files.example.org:80", "www.example.com"]})
    assert inside.told(f"{FETCH}print(json.dumps(get({urls[0]!r})))").startswith("reached")


@pytest.mark.parametrize(("host", "sni"), [("www.example.com", None), (None, "www.example.com")])
def test_connect_host_and_sni_must_agree(sandbox, host, sni):
    inside = sandbox({"allow": ["files.example.org"]})
    code = f"""{FETCH}
import ssl
def shake(host, sni):
    proxy = socket.create_connection(("127.0.0.53", 61128), 20)
    head = f"CONNECT files.example.org:443 HTTP/1.1\\r\\nHost: {{host or 'files.example.org:443'}}\\r\\n\\r\\n"
    proxy.sendall(head.encode())
    if b" 200 " not in proxy.recv(4096):
        return "refused"
    context = ssl._create_unverified_context()
    try:
        with context.wrap_socket(proxy, server_hostname=sni or "files.example.org") as secure:
            return secure.version()
    except OSError:
        return "refused"
print(json.dumps([shake({host!r}, {sni!r}), shake(None, None)]))
"""
    refused, agreed = inside.told(code)
    assert refused == "refused"
    assert agreed.startswith("TLS")


WORLD = [Target("public", PUBLIC), Target("by UDP", PUBLIC, "udp"), Target("ping", PUBLIC, "icmp"),
         Target("IPv6", PUBLIC_6), Target("elsewhere", ELSEWHERE), Target("private", "10.9.9.9")]  # fmt: skip


def test_with_false_there_is_no_route_no_name_and_no_proxy(sandbox):
    inside = sandbox(False)
    assert set(inside.probe(WORLD).values()) <= {"ENETUNREACH", "EACCES"}
    found = inside.told(
        f"{FETCH}print(json.dumps([look_up('files.example.org'), connect('files.example.org:80'), "
        "open('/proc/net/route').read().splitlines()[1:]]))"
    )
    assert isinstance(found[0], int)
    assert found[1].startswith("HTTP/1.1 403")
    assert "egress is off" in found[1]
    assert found[2] == []


def test_with_true_all_of_that_is_there(sandbox):
    inside = sandbox(True)
    answers = inside.probe(WORLD)
    assert [name for name, answer in answers.items() if not reached(answer)] == ["private"]


def test_with_rules_only_these_are_reached(sandbox):
    inside = sandbox({"allow": ["files.example.org:80", "*.example.com", f"{ELSEWHERE}:{ECHO}"]})
    answers = inside.probe(WORLD)
    assert [name for name, answer in answers.items() if reached(answer)] == ["elsewhere"]
    asked = {
        "files.example.org:80": "",
        f"www.example.com:{ECHO}": "reached",
        f"{ELSEWHERE}:{ECHO}": "reached",
        "files.example.org:443": "HTTP/1.1 403",
        f"example.com:{ECHO}": "HTTP/1.1 403",
        f"{PUBLIC}:{ECHO}": "HTTP/1.1 403",
        f"elsewhere.example.net:{ECHO}": "HTTP/1.1 403",
    }
    for target, wanted in asked.items():
        if wanted:
            assert inside.told(f"{FETCH}print(json.dumps(connect({target!r})))").startswith(wanted), target
    assert inside.told(f"{FETCH}print(json.dumps(get('http://files.example.org/')))").startswith("reached")


def test_an_empty_list_allows_nothing(sandbox):
    inside = sandbox({"allow": []})
    assert set(inside.probe(WORLD).values()) <= {"ENETUNREACH", "EACCES"}
    found = inside.told(f"{FETCH}print(json.dumps([look_up('files.example.org'), connect('files.example.org:80')]))")
    assert isinstance(found[0], int)
    assert found[1].startswith("HTTP/1.1 403")


def test_a_private_range_is_reached_only_where_rule_and_operator_name_it(sandbox):
    ask = f"{FETCH}print(json.dumps([connect(f'{{each}}:{ECHO}') for each in ('10.9.9.9', '172.16.5.5')]))"
    rules = {"allow": ["10.9.9.0/24", "172.16.0.0/12"]}
    opened = sandbox(rules, network=OPENED).told(ask)
    assert opened[0].startswith("reached 10.9.9.9")
    assert opened[1].startswith("HTTP/1.1 403")
    assert all(answer.startswith("HTTP/1.1 403") for answer in sandbox(rules).told(ask))
    assert all(answer.startswith("HTTP/1.1 403") for answer in sandbox({"allow": []}, network=OPENED).told(ask))


def test_with_true_an_opened_range_is_still_closed(sandbox):
    assert not reached(sandbox(True, network=OPENED).probe([Target("private", "10.9.9.9")])["private"])


def test_what_the_host_forwards_for_sandboxes_it_forwards_for_nobody_else():
    """Somebody outside who uses the host as a router; the control is the host without its rules."""
    targets = [Target("through the host", ELSEWHERE, "udp"), Target("by IPv6", ELSEWHERE_6, "udp")]
    lab = Lab.build()
    try:
        for without, expected in (((), 0), (LAYERS, 2)):
            running = lab.start(*without)
            try:
                inside = running.sandbox(True)
                assert reached(inside.probe([targets[0]])[targets[0].name])
                assert len(answered(lab, targets)) == expected, without
                inside.close()
            finally:
                running.close()
        assert answered(lab, targets) == [], "without a supervisor the host forwards nothing"
    finally:
        lab.close()


def answered(lab, targets):
    """Those that answer the internet, whose packets all go to the host."""
    found = []
    for target in targets:
        family = socket.AF_INET6 if ":" in target.address else socket.AF_INET
        sock = namespaces.open_socket(lab.internet.namespace, family, socket.SOCK_DGRAM)
        with sock:
            sock.settimeout(1)
            sock.sendto(b"?", (target.address, target.port))
            try:
                found.append(sock.recv(100))
            except OSError:
                continue
    return found
