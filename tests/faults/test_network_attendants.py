"""Networks of a service that goes on: they come and go, their gateway and mirror are killed, and all is as before.

The service runs on a lab's host; the test's own thread is there, too.
"""

import os
import signal
from collections import Counter
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from podflare_nb.provisioning.network.wires import SANDBOXES_4

from ..provisioning.network.netfilter_dump import tables
from .caller import SECONDS, Caller
from .networked_services import ALLOW, BY_PROXY, CONNECT, GATEWAY, MIRROR, attendant, running_on_host
from .traces import (
    GONE_SECONDS,
    Traces,
    descendants,
    descriptors,
    kernel_named,
    steady,
    supervisor_of,
    until,
    until_no_more,
    uplinks,
)

ROUNDS = 30
OPEN = """
import socket
sock = socket.create_connection(("93.184.216.34", 7000), 20)
sock.sendall(b"?")
sock.recv(100)
print(sock.getsockname()[0])
"""
DOWNLOAD = """
import http.client, urllib.request
with urllib.request.urlopen("http://files.example.org/large", timeout=30) as answer:
    size = len(answer.read(1000))
    print("begun", flush=True)
    try:
        while part := answer.read(1 << 20):
            size += len(part)
        print("ended", flush=True)
    except (OSError, http.client.HTTPException):
        print("broken", flush=True)
"""


@pytest.fixture(scope="module")
def service(lab, tmp_path_factory):
    with running_on_host(lab, tmp_path_factory.mktemp("service")) as service:
        yield service


def links_of_router(service):
    lines = (Path("/proc") / str(attendant(service, GATEWAY).pid) / "net" / "dev").read_text().splitlines()
    return {line.partition(":")[0].strip() for line in lines if ":" in line}


def holdings(service):
    """How many there are of what a sandbox's network consists of."""
    traces = Traces.of(service)
    counted = Counter(processes=len(traces.processes), namespaces=len(traces.namespaces), uplinks=len(uplinks()))
    counted["tables of the host"] = len(tables())
    gateway = attendant(service, GATEWAY)
    counted["links of the router"] = len(links_of_router(service))
    counted["mounts"] = len((Path("/proc") / str(supervisor_of(service).pid) / "mounts").read_text().splitlines())
    for process in (supervisor_of(service), gateway, attendant(service, MIRROR)):
        counted[f"descriptors of {process.command}"] = len(descriptors(process.pid))
    return counted


def one_round(caller, number):
    sandbox = caller.create(**({} if number % 2 else {"egress": ALLOW}))
    if number % 2:
        assert "reached" in caller.run(sandbox, CONNECT).text()
    for egress in (ALLOW, False, True, {"allow": []}, True):
        assert caller.http.patch(f"/v1/sandboxes/{sandbox}", json={"egress": egress}).status_code == 200
    assert "reached" in caller.run(sandbox, CONNECT).text()
    caller.close(sandbox)


def test_thirty_sandboxes_that_change_their_policies_leave_everything_as_it_was(service):
    with Caller(service) as caller:
        for number in range(3):
            one_round(caller, number)
        before = steady(lambda: holdings(service), SECONDS)
        for number in range(ROUNDS):
            one_round(caller, number)
        until_no_more(lambda: steady(lambda: holdings(service), SECONDS), before, GONE_SECONDS)


def test_a_connection_whose_end_nobody_answers_keeps_no_wire_of_a_closed_sandbox(service, lab):
    with Caller(service) as caller:
        sandbox = caller.create(egress=True)
        own = caller.run(sandbox, OPEN).text().strip()
        wire = f"s{int(IPv4Address(own)) - int(SANDBOXES_4[0])}"
        assert wire in links_of_router(service)
        forwarding = lab.host.setting("ipv4/conf/eth0/forwarding", "0")  # so that no answer comes back
        try:
            caller.close(sandbox)
            until(lambda: wire not in links_of_router(service), SECONDS, f"{wire} has ended")
        finally:
            lab.host.setting("ipv4/conf/eth0/forwarding", forwarding)


@pytest.mark.parametrize("module", [GATEWAY, MIRROR])
def test_a_killed_attendant_is_started_again_and_serves_every_sandbox(service, module):
    with Caller(service) as caller:
        sandboxes = [caller.create(egress=ALLOW) for _ in range(2)]
        killed = attendant(service, module)
        os.kill(killed.pid, signal.SIGKILL)
        until(lambda: not killed.alive(), SECONDS, "its end")
        until(lambda: any(module in each.command for each in descendants(service.process.pid)), SECONDS, "another")
        for sandbox in sandboxes:
            until(lambda one=sandbox: "reached" in caller.run(one, BY_PROXY).text(), SECONDS, "names lead out again")
        caller.http.patch(f"/v1/sandboxes/{sandboxes[0]}", json={"egress": False})
        assert "reached" not in caller.run(sandboxes[0], BY_PROXY).text()
        assert "reached" in caller.run(sandboxes[1], BY_PROXY).text()


def test_a_gateway_killed_in_the_middle_of_a_download_breaks_it_at_once_and_the_next_one_works(service):
    with Caller(service) as caller:
        sandbox = caller.create(egress=ALLOW)
        with caller.stream(sandbox, DOWNLOAD) as stream:
            assert stream.until("stdout")["data"].strip() == "begun"
            os.kill(attendant(service, GATEWAY).pid, signal.SIGKILL)
            said = [event["data"].strip() for event in stream.rest() if event["type"] == "stdout"]
        assert said == ["begun", "broken"]
        until(lambda: "reached" in caller.run(sandbox, BY_PROXY).text(), SECONDS, "the next download works")


def test_connections_by_wire_outlive_the_gateway(service):
    with Caller(service) as caller:
        sandbox = caller.create(egress=True)
        caller.run(sandbox, "import socket\nsock = socket.create_connection(('93.184.216.34', 7000))")
        os.kill(attendant(service, GATEWAY).pid, signal.SIGKILL)
        assert "reached" in caller.run(sandbox, "sock.sendall(b'?')\nprint(sock.recv(99))").text()


def test_a_kernel_that_is_replaced_has_its_network_still(service):
    with Caller(service) as caller:
        for egress in (True, ALLOW):
            sandbox = caller.create(egress=egress)
            begin = "open('/proc/self/comm', 'w').write('to-be-killed')\nprint('begun', flush=True)\nwhile True: pass"
            with caller.stream(sandbox, begin) as stream:
                stream.until("stdout")
                os.kill(kernel_named(service, "to-be-killed").pid, signal.SIGKILL)
                stream.rest()
            for code in (CONNECT, BY_PROXY):
                ran = caller.run(sandbox, code)
                assert "reached" in ran.text(), ran.events
            caller.close(sandbox)
