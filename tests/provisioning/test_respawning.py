"""A supervisor that is killed is followed by another one; who asks meanwhile waits."""

import asyncio

import pytest

from podflare_nb.errors import IsolationError
from podflare_nb.provisioning import respawning
from podflare_nb.provisioning.respawning import RespawningSupervisor
from podflare_nb.provisioning.supervisor_link import LostError

BOUND_SECONDS = 30


class Supervisor:
    """Stands for the client of one."""

    no_internet = ""

    def __init__(self):
        self.lost = asyncio.get_running_loop().create_future()
        self.closed = 0

    async def acquire(self, template, **_):
        return self, template

    async def aclose(self):
        self.closed += 1
        if not self.lost.done():
            self.lost.set_result(None)


class Starts:
    """Starts supervisors, after as many failures as it is told."""

    def __init__(self):
        self.made = []
        self.failures = 0
        self.failed = asyncio.Event()
        self.may_start = asyncio.Event()
        self.may_start.set()

    async def __call__(self):
        await self.may_start.wait()
        if self.failures:
            self.failures -= 1
            self.failed.set()
            raise IsolationError("There is no room.")
        self.made.append(Supervisor())
        return self.made[-1]


@pytest.fixture
async def starts(monkeypatch):
    monkeypatch.setattr(respawning, "PAUSES_SECONDS", (0.0,))
    return Starts()


@pytest.fixture
async def respawned(starts):
    async with asyncio.timeout(BOUND_SECONDS), await RespawningSupervisor.begin(starts) as supervisor:
        yield supervisor


async def test_who_asks_while_the_next_one_starts_waits_for_it(respawned, starts):
    starts.may_start.clear()
    starts.made[0].lost.set_result(None)
    asked = asyncio.create_task(respawned.acquire("t"))
    await asyncio.sleep(0)
    with pytest.raises(LostError, match=r"^The supervisor has ended, and every kernel with it\.$"):
        await respawned.replace(None)
    assert not asked.done()
    starts.may_start.set()
    assert await asked == (starts.made[1], "t")
    assert starts.made[0].closed == 1


async def test_one_that_cannot_be_started_is_tried_again(respawned, starts):
    starts.failures = 3
    starts.made[0].lost.set_result(None)
    await starts.failed.wait()
    assert await respawned.acquire("t") == (starts.made[1], "t")


async def test_nobody_waits_for_ever(respawned, starts, monkeypatch):
    monkeypatch.setattr(respawning, "WAIT_SECONDS", 0.01)
    starts.may_start.clear()
    starts.made[0].lost.set_result(None)
    await asyncio.sleep(0)
    with pytest.raises(LostError, match="Another one is started; try again"):
        await respawned.acquire("t")


async def test_none_is_started_for_one_that_was_closed(respawned, starts):
    await respawned.aclose()
    await asyncio.sleep(0)
    assert [each.closed for each in starts.made] == [1]


async def test_what_the_first_start_raises_is_raised(starts):
    starts.failures = 1
    with pytest.raises(IsolationError, match="no room"):
        await RespawningSupervisor.begin(starts)
