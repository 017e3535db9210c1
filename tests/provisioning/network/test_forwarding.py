"""The host forwards for sandboxes while there is a supervisor, and is afterwards as it was, whoever was killed."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from podflare_nb.provisioning.network import forwarding
from podflare_nb.provisioning.network.forwarding import Forwarding

from .places import Place, join

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
VERSIONS = [pytest.param(4, "forwarding", id="IPv4"), pytest.param(6, "force_forwarding", id="IPv6")]
HOLDER = """
import sys
from pathlib import Path
from podflare_nb.provisioning.network import forwarding
forwarding.LOCKS = Path(sys.argv[1])
held = forwarding.Forwarding(int(sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
held.take_back()
"""


@pytest.fixture
def locks(tmp_path, monkeypatch):
    monkeypatch.setattr(forwarding, "LOCKS", tmp_path / "locks")
    return tmp_path / "locks"


@pytest.fixture
def host(locks):  # noqa: ARG001 - where they are put
    """A namespace with two links; the test's thread is in it."""
    with Place("host") as host, Place("outside") as outside:
        for pattern in ("ipv4/conf/*/forwarding", "ipv6/conf/*/force_forwarding"):
            host.settings(pattern, "0")
        join(host, outside, 2, "eth0")
        join(host, outside, 3, "eth1")
        with host.entered():
            yield host


def now(host, version, setting):
    return {
        path: host.setting(path)
        for path in (f"ipv{version}/conf/{name}/{setting}" for name in ("lo", "eth0", "eth1", "default", "all"))
    }


@contextmanager
def another(locks, version):
    """Another supervisor's process."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(locks), str(version)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        yield holder
    finally:
        holder.stdin.close()
        holder.wait(60)
        holder.stdout.close()


@pytest.mark.parametrize(("version", "setting"), VERSIONS)
def test_each_link_forwards_meanwhile_and_the_whole_host_does_not(host, locks, version, setting):
    before = now(host, version, setting)
    held = Forwarding(version)
    assert held.turned_on
    changed = now(host, version, setting)
    assert changed.pop(f"ipv{version}/conf/all/{setting}") == "0"
    assert set(changed.values()) == {"1"}
    held.take_back()
    held.take_back()
    assert now(host, version, setting) == before
    assert not locks.exists()


@pytest.mark.parametrize(("version", "setting"), VERSIONS)
def test_what_forwarded_anyway_is_left_alone_and_told(host, version, setting):
    host.setting(f"ipv{version}/conf/eth1/{setting}", "1")
    before = now(host, version, setting)
    held = Forwarding(version)
    assert held.anyway == {"eth1"}
    held.take_back()
    assert now(host, version, setting) == before


def test_a_host_that_is_a_router_anyway_is_not_touched(host):
    host.setting("ipv4/ip_forward", "1")
    before = now(host, 4, "forwarding")
    held = Forwarding(4)
    assert not held.turned_on
    held.take_back()
    assert now(host, 4, "forwarding") == before
    assert host.setting("ipv4/ip_forward") == "1"


@pytest.mark.parametrize(("version", "setting"), VERSIONS)
def test_whoever_lets_go_last_turns_it_off(host, locks, version, setting):
    before = now(host, version, setting)
    with another(locks, version):
        first = Forwarding(version)  # it does not wait for the other one
        first.take_back()
        assert now(host, version, setting)[f"ipv{version}/conf/eth0/{setting}"] == "1"
    assert now(host, version, setting) == before
    assert not locks.exists()


@pytest.mark.parametrize(("version", "setting"), VERSIONS)
def test_what_a_killed_one_turned_on_the_next_turns_off(host, locks, version, setting):
    before = now(host, version, setting)
    with another(locks, version) as killed:
        killed.send_signal(signal.SIGKILL)
        killed.wait(60)
        assert now(host, version, setting)[f"ipv{version}/conf/eth0/{setting}"] == "1"
        held = Forwarding(version)
        assert held.anyway == frozenset(), "what the killed one turned on is ours, not the host's"
        held.take_back()
    assert now(host, version, setting) == before
    assert not locks.exists()


@pytest.mark.parametrize(("version", "setting"), VERSIONS)
def test_what_a_killed_one_turned_on_is_swept_unless_somebody_else_needs_it(host, locks, version, setting):
    before = now(host, version, setting)
    with another(locks, version) as killed:
        assert not forwarding.sweep()
        assert now(host, version, setting)[f"ipv{version}/conf/eth0/{setting}"] == "1"
        killed.send_signal(signal.SIGKILL)
        killed.wait(60)
        assert forwarding.sweep()
    assert now(host, version, setting) == before
    assert not locks.exists()
    assert forwarding.sweep()
    assert not locks.exists()


def test_other_namespaces_have_their_own_files(host, locks):
    first = Forwarding(4)
    with Place("other host") as other, other.entered():
        other.settings("ipv4/conf/*/forwarding", "0")
        second = Forwarding(4)
        assert len(list(Path(locks).iterdir())) == 2
        second.take_back()
        assert other.setting("ipv4/conf/lo/forwarding") == "0"
    assert host.setting("ipv4/conf/eth0/forwarding") == "1"
    first.take_back()
