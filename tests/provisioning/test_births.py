"""A child of a fork on its way, as the supervisor sees it: one that does not do what it is told."""

import asyncio
import os
import signal
from types import SimpleNamespace

import pytest

from podflare_nb.provisioning import datagrams
from podflare_nb.provisioning.births import Birth
from podflare_nb.provisioning.jail import cgroup_mounts
from podflare_nb.provisioning.jail.cgroups import CgroupTree
from podflare_nb.provisioning.limits import Limits

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="control groups need root")


@pytest.fixture
def group():
    tree = CgroupTree.open(f"births-{os.getpid()}", cgroup_mounts.find())
    made = tree.create("one", Limits(memory_mib=64, cpus=1, pids=20))
    yield made
    made.kill()
    made.remove()
    tree.remove()


@pytest.fixture
def stranger():
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    yield pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


async def test_one_that_says_it_has_risen_and_has_not_joined_its_group_is_moved_there(group, stranger):
    birth = Birth(SimpleNamespace())
    birth.asleep.cancel()
    await asyncio.gather(birth.asleep, return_exceptions=True)
    assert not group.has(stranger)
    datagrams.send(birth.theirs, {"event": "risen"})
    async with asyncio.timeout(60):
        await birth._risen(group, stranger)
    assert group.has(stranger)
    await birth.give_up()
