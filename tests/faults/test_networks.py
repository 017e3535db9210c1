"""Whatever is killed, the machine is as it was: links, rules, namespaces, settings.

The service runs on a lab's host; the test's own thread is there, too.
"""

import os
import signal
from dataclasses import replace

import pytest

from ..provisioning.network.netfilter_dump import tables
from .caller import SECONDS, Caller
from .networked_services import ALLOW, BY_PROXY, CONNECT, running_on_host
from .services import dispose, start
from .traces import Traces, network_namespaces, supervisor_of, until, uplinks


@pytest.fixture
def service(lab, tmp_path):
    with running_on_host(lab, tmp_path) as service:
        yield service


def test_a_killed_supervisor_leaves_nothing_of_its_networks_and_the_next_one_has_its_own(service, lab):
    with Caller(service) as caller:
        sandboxes = [caller.create(egress=egress) for egress in (True, ALLOW, False)]
        assert "reached" in caller.run(sandboxes[0], CONNECT).text()
        traces = Traces.of(service)
        assert uplinks()
        assert tables()
        os.kill(supervisor_of(service).pid, signal.SIGKILL)
        below = tuple(each for each in traces.processes if each.pid != service.process.pid)
        replace(traces, processes=below).until_gone(SECONDS)
        assert "reached" in caller.run(caller.create(), CONNECT).text()
    traces = Traces.of(service)
    service.process.terminate()
    assert service.process.wait(SECONDS) == 0
    traces.until_gone(SECONDS)
    until(lambda: not uplinks() and not tables(), SECONDS, "no link and no table")
    until(lambda: lab.host.setting("ipv4/conf/eth0/forwarding") == "0", SECONDS, "the host forwards nothing")


def test_a_killed_server_leaves_nothing_of_its_networks(service):
    with Caller(service) as caller:
        assert "reached" in caller.run(caller.create(egress=ALLOW), BY_PROXY).text()
    traces = Traces.of(service)
    os.kill(service.process.pid, signal.SIGKILL)
    service.process.wait(SECONDS)
    traces.until_gone(SECONDS)


def test_a_killed_supervisor_and_server_leave_only_what_the_next_one_takes_back(service, lab, tmp_path_factory):
    with Caller(service) as caller:
        assert "reached" in caller.run(caller.create(), CONNECT).text()
    traces = Traces.of(service)
    for pid in (service.process.pid, supervisor_of(service).pid):
        os.kill(pid, signal.SIGKILL)
    service.process.wait(SECONDS)
    traces.until_ended(SECONDS)
    until(lambda: not uplinks() and not tables(), SECONDS, "no link and no table")
    until(lambda: not traces.namespaces & network_namespaces(), SECONDS, "no namespace")
    following = lab.host.call(start, tmp_path_factory.mktemp("next"), service.runtime_dir)
    try:
        with Caller(following) as caller:
            assert "reached" in caller.run(caller.create(), CONNECT).text()
    finally:
        dispose(following)
    traces.until_gone(SECONDS)
