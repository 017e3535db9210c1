import asyncio
import threading

import pytest

from podflare_nb.provisioning.network.gateway import resolver as module
from podflare_nb.provisioning.network.gateway.resolver import MAX_WAITING, Asker, ResolverThreads, UnresolvedError


@pytest.fixture
def gate():
    """What keeps a thread busy, as a name server does that never answers."""
    event = threading.Event()
    yield event
    event.set()


async def test_lookups_that_nobody_answers_leave_threads_to_others(gate):
    resolver, greedy = ResolverThreads(9), [Asker() for _ in range(3)]
    held = [asyncio.create_task(resolver.run(asker, "a", gate.wait)) for asker in greedy for _ in range(10)]
    while sum(asker.running for asker in greedy) < 6:  # noqa: ASYNC110 - a few turns of the loop
        await asyncio.sleep(0)
    assert await resolver.run(Asker(), "b", lambda: "found") == "found"
    gate.set()
    assert await asyncio.gather(*held) == [True] * 30
    await settled(resolver, *greedy)


async def settled(resolver, *askers):
    async with asyncio.timeout(60):
        while resolver._running or any(asker.running or asker.waiting for asker in askers):  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_one_sandbox_waits_with_so_many_and_no_more(gate):
    resolver, asker = ResolverThreads(2), Asker()
    held = [asyncio.create_task(resolver.run(asker, "a", gate.wait)) for _ in range(MAX_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(UnresolvedError, match="too many lookups at once"):
        await resolver.run(asker, "a", gate.wait)
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)
    gate.set()
    await settled(resolver, asker)


async def test_who_waited_too_long_goes_away_and_the_thread_stays_taken(gate, monkeypatch):
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0)
    resolver, asker = ResolverThreads(2), Asker()
    with pytest.raises(UnresolvedError, match="a was not resolved within"):
        await resolver.run(asker, "a", gate.wait)
    assert asker.waiting == 0
    gate.set()
    await settled(resolver, asker)


async def test_a_name_that_is_being_looked_up_is_not_looked_up_again_for_the_same_sandbox(gate, monkeypatch):
    looked_up = []

    def look_up(name):
        looked_up.append(name)
        gate.wait()
        if name == "none":
            raise UnresolvedError("none does not exist", "no name")
        return [name]

    monkeypatch.setattr(module, "_addresses", look_up)
    resolver, one, other = ResolverThreads(4), Asker(), Asker()
    many = 3 * MAX_WAITING
    asked = [asyncio.create_task(resolver.addresses(one, name)) for name in ("a", "none") for _ in range(many)]
    asked.append(asyncio.create_task(resolver.addresses(other, "a")))
    await asyncio.sleep(0)
    asked[0].cancel()  # who goes away takes nothing from the others
    gate.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert answers[1:many] == [["a"]] * (many - 1)
    assert {str(answer) for answer in answers[many:-1]} == {"none does not exist"}
    assert answers[-1] == ["a"]
    assert sorted(looked_up) == ["a", "a", "none"]
    await settled(resolver, one, other)
    assert await resolver.addresses(one, "a") == ["a"]
    assert len(looked_up) == 4
    assert one.under_way == {}
