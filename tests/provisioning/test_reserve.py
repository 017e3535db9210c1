"""Kernels held in advance by the service: given out at once, refilled behind, never a dead one, none left."""

import asyncio

import pytest

from podflare_nb.errors import NoCapacityError
from podflare_nb.provisioning.kernel_exit import KernelExit
from podflare_nb.provisioning.kernelspec import TemplateSpec
from podflare_nb.provisioning.limits import Limits
from podflare_nb.provisioning.reserve import SIZE, Reserve

SPEC = TemplateSpec("plain", "Plain", "for tests")
SECONDS = 60


class Handle:
    def __init__(self) -> None:
        self.exited = asyncio.get_running_loop().create_future()
        self.killed = False

    async def kill(self) -> None:
        self.killed = True


class Source:
    def __init__(self) -> None:
        self.made: list[Handle] = []
        self.asked: list[dict] = []
        self.refuse = False
        self.changed = asyncio.Condition()

    async def acquire(self, template, **wanted):
        if self.refuse:
            raise NoCapacityError("There are no kernels.")
        self.asked.append({"template": template, **wanted})
        self.made.append(Handle())
        async with self.changed:
            self.changed.notify_all()
        return self.made[-1]

    async def until(self, count: int) -> None:
        async with asyncio.timeout(SECONDS), self.changed:
            await self.changed.wait_for(lambda: len(self.made) >= count)


@pytest.fixture
def source():
    return Source()


@pytest.fixture
async def reserve(source):
    async with Reserve(source, {"plain": SPEC}) as made:
        yield made


async def filled(source, reserve) -> Handle:
    first = await reserve.acquire("plain")
    await source.until(1 + SIZE)
    return first


async def test_the_second_request_is_answered_from_what_is_held(source, reserve):
    await filled(source, reserve)
    assert await reserve.acquire("plain", limits=SPEC.limits) is source.made[1]


async def test_what_was_taken_is_made_up_for(source, reserve):
    await filled(source, reserve)
    await reserve.acquire("plain")
    await source.until(2 + SIZE)


async def test_a_kernel_that_died_while_held_is_not_given_out(source, reserve):
    await filled(source, reserve)
    source.made[1].exited.set_result(KernelExit("killed", "gone"))
    assert await reserve.acquire("plain") is source.made[2]


@pytest.mark.parametrize("wanted", [{"limits": Limits(memory_mib=64)}, {"env": {"A": "1"}}], ids=["limits", "env"])
async def test_other_wishes_go_through_to_the_supervisor(source, reserve, wanted):
    await filled(source, reserve)
    held = source.made[1:]
    assert await reserve.acquire("plain", **wanted) not in held
    asked = source.asked[-1]
    assert all(asked[name] == value for name, value in wanted.items())


async def test_a_template_without_a_pool_has_no_reserve(source):
    async with Reserve(source, {"cold": TemplateSpec("cold", "Cold", "", pool_size=0)}) as reserve:
        await reserve.acquire("cold")
    assert len(source.made) == 1


async def test_a_supervisor_without_capacity_is_told_to_whoever_asks(source, reserve):
    source.refuse = True
    with pytest.raises(NoCapacityError, match="no kernels"):
        await reserve.acquire("plain")


async def test_closing_ends_what_is_held(source):
    async with Reserve(source, {"plain": SPEC}) as reserve:
        given = await filled(source, reserve)
    assert not given.killed
    assert all(handle.killed for handle in source.made[1:])
