"""The short-lived fork that builds a jail: whatever becomes of the supervisor, it never goes on as a copy of it."""

import os

import pytest

from podflare_nb.provisioning.jail import build
from podflare_nb.provisioning.jail.plan import JailPlan

NOTHING = JailPlan(mount_point="/nonexistent", disk="", skeleton="", sources=(), owner=0, init_owner=0)


@pytest.mark.skipif(os.geteuid() != 0, reason="jails need root")
def test_a_builder_whose_supervisor_has_gone_ends_though_it_can_tell_nobody():
    outcome, told = os.pipe()
    pid = os.fork()
    if pid == 0:  # stands for the supervisor: it starts a builder and is gone before that can tell of its failure
        read, write = os.pipe()
        os.close(read)
        try:
            build._build(NOTHING, -1, os.open("/dev/null", os.O_RDONLY), write)
        except BaseException as escaped:  # noqa: BLE001 - what must not happen, told to the test
            os.write(told, repr(escaped).encode())
        os._exit(0)
    os.close(told)
    os.waitpid(pid, 0)
    with open(outcome, "rb") as escaped:  # noqa: PTH123 - a descriptor
        assert escaped.read() == b""
