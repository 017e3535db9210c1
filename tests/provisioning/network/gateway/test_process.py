"""The process: what it gives up, what it holds, what it tells, and how it ends."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from podflare_nb.provisioning import datagrams
from podflare_nb.provisioning.network import namespaces

from .internet import INTERNET, OFF, OTHER_PUBLIC, PUBLIC, SECONDS, Sandbox, connected, exchange, read_all, read_until
from .servers import Stub, echo

ALL_ZERO = "0000000000000000"


@pytest.fixture
def echoing(world, serve):
    return serve(Stub(world.listen(PUBLIC, 7000), echo))


def status(pid):
    """Of each thread: the fields of /proc/pid/task/tid/status."""
    return [
        dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)
        for task in Path(f"/proc/{pid}/task").iterdir()
    ]


def until(holds):
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_no_thread_of_it_has_a_privilege(start_gateway):
    gateway = start_gateway(uid=12345, gid=23456)
    threads = status(gateway.process.pid)
    assert len(threads) > 8
    for thread in threads:
        assert thread["Uid"].split() == ["12345"] * 4
        assert thread["Gid"].split() == ["23456"] * 4
        assert thread["Groups"].strip() == ""
        assert {thread[name].strip() for name in ("CapPrm", "CapEff", "CapInh", "CapAmb", "CapBnd")} == {ALL_ZERO}
        assert thread["NoNewPrivs"].strip() == "1"
    assert Path(f"/proc/{gateway.process.pid}/environ").stat().st_uid == 0  # what is not dumpable is root's
    limits = Path(f"/proc/{gateway.process.pid}/limits").read_text().splitlines()
    line = next(line for line in limits if line.startswith("Max open files")).split()
    assert line[3] == line[4]


def test_its_main_thread_is_the_routers_and_the_others_are_the_hosts(gateway, world):
    pid = gateway.process.pid
    inodes = {
        task.name: (task / "ns/net").stat().st_ino for task in Path(f"/proc/{pid}/task").iterdir()
    }  # fmt: skip
    assert inodes.pop(str(pid)) == os.fstat(world.router).st_ino
    assert set(inodes.values()) == {os.fstat(world.host).st_ino}


def test_root_is_refused_as_its_user(start_gateway):
    with pytest.raises(datagrams.PeerClosedError):
        start_gateway(uid=0, gid=0)
    start_gateway(uid=1, gid=1)


@pytest.mark.usefixtures("echoing")
def test_it_ends_when_the_supervisor_does(gateway):
    sandbox = gateway.open(INTERNET)
    with connected(sandbox, f"{PUBLIC}:7000") as sock:
        gateway._sock.close()
        assert gateway.process.wait(SECONDS) == 0
        assert read_all(sock) == b""


@pytest.mark.usefixtures("http_servers")
def test_which_sandbox_asks_is_known_by_its_listener(gateway):
    request = b"GET http://files.example.org/ HTTP/1.0\r\n\r\n"
    one, two = gateway.open({"allow": ["files.example.org"]}, "one"), gateway.open(OFF, "two")
    assert b"reached" in exchange(one, request)
    assert b"egress is off" in exchange(two, request)
    assert gateway.record(network="one")["verdict"] == "allowed"
    assert gateway.record(network="two")["verdict"] == "refused"


@pytest.mark.usefixtures("echoing")
def test_a_new_policy_ends_what_it_does_not_allow_and_leaves_the_rest(gateway, world, serve):
    serve(Stub(world.listen(OTHER_PUBLIC, 7000), echo))
    sandbox = gateway.open({"allow": ["files.example.org", "other.example.net", "example.com"]})
    with connected(sandbox, "files.example.org:7000") as ended, connected(sandbox, "other.example.net:7000") as stays:
        for sock in (ended, stays):
            sock.sendall(b"\0")
            assert sock.recv(1) == b"\0"
        gateway.say(op="egress", network="net1", egress={"allow": ["other.example.net:7000"]})
        assert read_all(ended) == b""
        stays.sendall(b"\1")
        assert stays.recv(1) == b"\1"
        assert b"403" in exchange(sandbox, b"CONNECT files.example.org:7000 HTTP/1.0\r\n\r\n")
    assert gateway.record(host="files.example.org", verdict="allowed")["received"] == 1


@pytest.mark.usefixtures("world", "echoing")
def test_close_ends_all_and_keeps_no_descriptor(gateway):
    until(lambda: gateway.fd_count() > 0)
    before = gateway.fd_count()
    for round_ in range(3):
        sandbox = Sandbox(f"net{round_}")
        gateway.open(INTERNET, sandbox.name, sandbox)
        socks = [connected(sandbox, f"{PUBLIC}:7000") for _ in range(20)]
        for sock in socks[:10]:
            sock.sendall(bytes(200_000))
        idle = [sandbox.connect() for _ in range(5)] + [sandbox.connect(53) for _ in range(5)]
        until(lambda: gateway.fd_count() >= before + 3 + 2 * 20 + 10)
        gateway.say(op="close", network=sandbox.name)
        for sock in socks + idle:
            read_all(sock)
            sock.close()
        for listener in sandbox.listeners:
            listener.close()
        until(lambda sandbox=sandbox: nobody_listens(sandbox))  # ours were the last copies
        until(lambda: gateway.fd_count() <= before + 2 * 32)  # pipes that are kept for the next
    sandbox = gateway.open(INTERNET, "last")
    connected(sandbox, f"{PUBLIC}:7000").close()
    gateway.say(op="close", network="last")
    until(lambda: sockets_of(gateway) == 1)


def nobody_listens(sandbox):
    try:
        sandbox.connect().close()
    except ConnectionRefusedError:
        return True
    return False


def sockets_of(gateway):
    found = []
    for entry in Path(f"/proc/{gateway.process.pid}/fd").iterdir():
        try:
            found.append(str(entry.readlink()))
        except FileNotFoundError:
            continue
    return sum(name.startswith("socket:") for name in found) - 2  # the event loop wakes itself by a pair


@pytest.mark.usefixtures("echoing")
def test_a_killed_gateway_is_followed_by_one_on_the_same_listeners(start_gateway):
    first = start_gateway()
    sandbox = first.open(INTERNET)
    with connected(sandbox, f"{PUBLIC}:7000") as sock:
        sock.sendall(bytes(1_000_000))
        sock.recv(1)  # in the middle of it
        first.process.send_signal(signal.SIGKILL)
        first.process.wait(SECONDS)
        read_all(sock)
    waiting = sandbox.connect()
    waiting.sendall(f"CONNECT {PUBLIC}:7000 HTTP/1.0\r\n\r\n".encode())
    second = start_gateway()
    second.open(INTERNET, sandbox=sandbox)
    first.sandboxes.clear()
    assert read_until(waiting, b"\r\n\r\n").startswith(b"HTTP/1.1 200")
    waiting.close()
    with connected(sandbox, f"{PUBLIC}:7000") as sock:
        sock.sendall(b"\0")
        assert sock.recv(1) == b"\0"


@pytest.mark.usefixtures("echoing")
def test_more_connections_than_allowed_are_told_so_and_others_have_theirs(start_gateway):
    gateway = start_gateway(max_connections=20)
    sandbox, other = gateway.open(INTERNET), gateway.open(INTERNET, "net2")
    socks = [connected(sandbox, f"{PUBLIC}:7000") for _ in range(20)]
    answer = exchange(sandbox, f"CONNECT {PUBLIC}:7000 HTTP/1.0\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 503 20 connections are all this sandbox may have")
    connected(other, f"{PUBLIC}:7000").close()
    socks.pop().close()
    until(lambda: _try(sandbox))
    for sock in socks:
        sock.close()


def _try(sandbox):
    answer = exchange(sandbox, f"CONNECT {PUBLIC}:1 HTTP/1.0\r\n\r\n".encode())
    return b"503" not in answer.partition(b"\r\n")[0]


@pytest.mark.usefixtures("echoing")
def test_thousands_of_connections_come_and_go(gateway):
    sandbox, other = gateway.open(INTERNET), gateway.open(INTERNET, "net2")
    answered = refused = 0
    for _ in range(6):
        socks = [sandbox.connect() for _ in range(500)]
        for sock in socks:
            sock.sendall(f"CONNECT {PUBLIC}:7000 HTTP/1.0\r\n\r\n".encode())
        with connected(other, f"{PUBLIC}:7000") as sock:  # a neighbour is served meanwhile
            sock.sendall(b"\0")
            assert sock.recv(1) == b"\0"
        for sock in socks:
            status = sock.recv(12)
            answered += status == b"HTTP/1.1 200"
            refused += status == b"HTTP/1.1 503"
            sock.close()
    assert answered + refused == 3_000
    assert answered >= 6 * 256
    gateway.say(op="close", network="net1")
    gateway.say(op="close", network="net2")
    until(lambda: sockets_of(gateway) == 1)


@pytest.mark.usefixtures("echoing")
def test_slow_clients_hold_up_nobody_and_are_told_that_they_are(gateway):
    sandbox = gateway.open(INTERNET)
    slow = [sandbox.connect() for _ in range(100)]
    for sock in slow:
        sock.sendall(b"GET http://files.example.org/ HT")
    connected(sandbox, f"{PUBLIC}:7000").close()
    for sock in slow:
        assert read_all(sock).startswith(b"HTTP/1.1 408 ")
        sock.close()


def test_records_are_bounded_and_what_was_dropped_is_counted(gateway):
    sandbox = gateway.open(OFF)
    count = 600
    for _ in range(count):
        assert b"403" in exchange(sandbox, b"CONNECT evil.example:1 HTTP/1.0\r\n\r\n")
    told = dropped = 0
    while told + dropped < count:
        event = gateway.wait_for("connections")
        told += len(event["records"])
        dropped += event["dropped"].get("net1", 0)
    assert told + dropped == count
    assert told >= 200
    assert dropped > 0


@pytest.mark.usefixtures("echoing")
def test_proxied_bytes_are_told_while_they_go(gateway):
    sandbox = gateway.open(INTERNET)
    sent = received = 0
    with connected(sandbox, f"{PUBLIC}:7000") as sock:
        for _ in range(2):
            sock.sendall(bytes(100_000))
            left = 100_000
            while left:
                left -= len(sock.recv(left))
        while min(sent, received) < 200_000:
            part = gateway.wait_for("traffic")["networks"]["net1"]
            sent, received = sent + part[0], received + part[1]
    assert (sent, received) == (200_000, 200_000)


@pytest.mark.usefixtures("http_servers")
def test_a_mistake_of_the_supervisors_opens_nothing_and_ends_nothing(gateway):
    sandbox = gateway.open(INTERNET)
    for body in (
        {"op": "egress", "network": "nobody", "egress": True},
        {"op": "egress", "network": "net1", "egress": 5},
        {"op": "what", "network": "net1"},
        {"op": "close", "network": "nobody"},
        {"op": "open", "network": "net3", "egress": {"allow": ["0x7f.1"]}},
        {},
    ):
        gateway.say(**body)
    assert b"reached" in exchange(sandbox, b"GET http://files.example.org/ HTTP/1.0\r\n\r\n")


def test_the_listeners_stay_the_supervisors(gateway):
    """Closed by the gateway, they are open where they came from."""
    sandbox = gateway.open(INTERNET)
    assert b"400" in exchange(sandbox, b"nonsense\r\n\r\n")
    gateway.say(op="close", network="net1")
    until(lambda: sockets_of(gateway) == 1)
    gateway.say([sock.fileno() for sock in sandbox.listeners], op="open", network="again", egress=False)
    assert b"egress is off" in exchange(sandbox, b"CONNECT a.example:1 HTTP/1.0\r\n\r\n")
    with namespaces.open_socket(sandbox.namespace, socket.AF_INET, socket.SOCK_STREAM):
        pass


def test_a_network_closed_at_once_leaves_no_listener(gateway):
    """Told to open and to close it in one turn of its loop, before anything could begin to accept."""
    os.kill(gateway.process.pid, signal.SIGSTOP)
    gateway.open(INTERNET)
    gateway.say(op="close", network="net1")
    os.kill(gateway.process.pid, signal.SIGCONT)
    sandbox = gateway.open(OFF, "net2")
    assert b"egress is off" in exchange(sandbox, b"CONNECT a.example:1 HTTP/1.0\r\n\r\n")
    until(lambda: sockets_of(gateway) == 1 + 3)
