"""Sandboxes come and go, and the machine is as it was before."""

import os
import signal
from collections import Counter

import pytest

from .caller import SECONDS, Caller
from .services import running
from .traces import (
    GONE_SECONDS,
    WORK,
    Traces,
    control_groups,
    descriptors,
    loop_devices,
    mounts,
    steady,
    supervisor_of,
    until_no_more,
)

ROUNDS = 50


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with running(tmp_path_factory.mktemp("service")) as service:
        yield service


def holdings(service) -> Counter:
    """How many there are of each thing that a sandbox may have."""
    traces = Traces.of(service)
    (name,) = traces.supervisors
    counted = Counter(processes=len(traces.processes))
    counted["mounts"] = sum(name in line for line in mounts())
    counted["loop devices"] = sum(name in line for line in loop_devices())
    counted["control groups"] = len(control_groups(name))
    counted["files of the supervisor"] = sum(
        1 for base in (service.runtime_dir, WORK / name) for path in base.rglob("*") if "skeleton" not in str(path)
    )
    for who, pid in (("server", service.process.pid), ("supervisor", supervisor_of(service).pid)):
        for path in descriptors(pid):
            counted[f"descriptors of the {who} to {kind_of(path)}"] += 1
    return counted


def kind_of(path: str) -> str:
    """Loop devices differ by their number only."""
    return path.rstrip("0123456789") if path.startswith("/dev/") else path


def quiet(service) -> Counter:
    """What there is once the pools are full, and what was closed is gone."""
    return steady(lambda: holdings(service), SECONDS)


def test_fifty_sandboxes_leave_everything_as_it_was(service):
    with Caller(service) as caller:
        for _ in range(3):
            one_round(caller)
        before = quiet(service)
        for _ in range(ROUNDS):
            one_round(caller)
        until_no_more(lambda: quiet(service), before, GONE_SECONDS)


def one_round(caller):
    sandbox = caller.create()
    assert caller.run(sandbox, "print(1)").text() == "1"
    caller.close(sandbox)


def test_clients_that_go_away_in_the_middle_leave_everything_as_it_was(service):
    with Caller(service) as caller:
        one_round(caller)
        before = quiet(service)
        sandbox = caller.create()
        for _ in range(5):
            with Caller(service) as other, other.stream(sandbox, "print(1, flush=True)\nwhile True: pass") as stream:
                stream.until("stdout")
        assert caller.run(sandbox, "print(2)").text() == "2"
        caller.close(sandbox)
        until_no_more(lambda: quiet(service), before, GONE_SECONDS)


def test_a_killed_server_leaves_nothing_even_if_no_other_is_ever_started(service):
    """The supervisor sees the end of the server and cleans up by itself."""
    with Caller(service) as caller:
        caller.run(caller.create(), "import subprocess; subprocess.Popen(['sleep', '1000'], start_new_session=True)")
    traces = Traces.of(service)
    os.kill(service.process.pid, signal.SIGKILL)
    service.process.wait(SECONDS)
    traces.until_gone(SECONDS)
