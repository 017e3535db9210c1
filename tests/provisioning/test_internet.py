"""Whether this machine can route for sandboxes, found out without touching its network."""

import os
from pathlib import Path

import pytest

from podflare_nb.provisioning import internet

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a router needs root")


def namespace() -> str:
    return str(Path("/proc/thread-self/ns/net").stat().st_ino)


def test_a_router_can_be_made_here():
    found = internet.probe()
    assert (found.available, found.required, found.remedy) == (True, False, ""), found


def test_it_is_tried_in_a_network_of_its_own_and_what_fails_is_told_with_what_to_do(monkeypatch):
    def refused(*_):
        raise OSError(1, namespace())

    monkeypatch.setattr(internet, "Router", refused)
    found = internet.probe()
    assert not found.available
    assert found.detail.isdecimal()
    assert found.detail != namespace()
    assert "modprobe veth" in found.remedy
