import asyncio

import pytest
from pydantic import BaseModel

from podflare_nb.errors import ConflictError, QuotaExceededError
from podflare_nb.handlers.kept_answers import KEEP_SECONDS, MOST_KEYS, KeptAnswers


class Made(BaseModel):
    number: int


class Maker:
    """Makes numbers, one after the other; while ``gate`` is closed, it waits."""

    def __init__(self) -> None:
        self.made = 0
        self.failure: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()

    async def __call__(self) -> Made:
        self.begun.set()
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.made += 1
        return Made(number=self.made)


@pytest.fixture
def maker():
    return Maker()


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
async def answers(clock):
    kept = KeptAnswers(lambda: clock[0])
    yield kept
    await kept.aclose()


async def test_a_request_that_comes_again_gets_the_first_ones_answer(answers, maker):
    assert await answers.once("a", "key", b"request", maker) == ('{"number":1}', False)
    assert await answers.once("a", "key", b"request", maker) == ('{"number":1}', True)


async def test_a_key_is_its_tenants(answers, maker):
    await answers.once("a", "key", b"request", maker)
    assert await answers.once("b", "key", b"request", maker) == ('{"number":2}', False)


async def test_another_request_with_the_same_key_is_refused(answers, maker):
    await answers.once("a", "key", b"request", maker)
    with pytest.raises(ConflictError, match="another request"):
        await answers.once("a", "key", b"another", maker)


async def test_the_second_waits_while_the_first_is_under_way(answers, maker):
    maker.gate.clear()
    first, second = (asyncio.ensure_future(answers.once("a", "key", b"request", maker)) for _ in range(2))
    await asyncio.wait_for(maker.begun.wait(), 60)
    assert not first.done()
    assert not second.done()
    maker.gate.set()
    assert await asyncio.gather(first, second) == [('{"number":1}', False), ('{"number":1}', True)]


async def test_what_was_begun_goes_on_when_its_client_goes_away(answers, maker):
    maker.gate.clear()
    first = asyncio.ensure_future(answers.once("a", "key", b"request", maker))
    await asyncio.wait_for(maker.begun.wait(), 60)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    maker.gate.set()
    assert await answers.once("a", "key", b"request", maker) == ('{"number":1}', True)


async def test_a_failure_is_told_to_all_that_wait_and_is_not_kept(answers, maker):
    maker.gate.clear()
    maker.failure = QuotaExceededError("Too many.")
    both = [asyncio.ensure_future(answers.once("a", "key", b"request", maker)) for _ in range(2)]
    await asyncio.wait_for(maker.begun.wait(), 60)
    maker.gate.set()
    assert [type(each) for each in await asyncio.gather(*both, return_exceptions=True)] == [QuotaExceededError] * 2
    maker.failure = None
    assert await answers.once("a", "key", b"request", maker) == ('{"number":1}', False)


async def test_answers_are_kept_for_a_day(answers, maker, clock):
    await answers.once("a", "key", b"request", maker)
    clock[0] = KEEP_SECONDS - 1
    assert await answers.once("a", "key", b"request", maker) == ('{"number":1}', True)
    clock[0] = KEEP_SECONDS + 1
    assert await answers.once("a", "key", b"another", maker) == ('{"number":2}', False)


async def test_the_oldest_keys_go_first_when_there_are_too_many(answers, maker):
    for number in range(MOST_KEYS + 1):
        await answers.once("a", f"key{number}", b"request", maker)
    assert (await answers.once("a", "key1", b"request", maker))[1]
    assert not (await answers.once("a", "key0", b"request", maker))[1]
    assert repr(answers) == f"<KeptAnswers kept={MOST_KEYS} under_way=0>"


async def test_a_tenant_whose_answers_are_gone_leaves_nothing(answers, maker):
    maker.failure = QuotaExceededError("Too many.")
    with pytest.raises(QuotaExceededError):
        await answers.once("a", "key", b"request", maker)
    assert repr(answers) == "<KeptAnswers kept=0 under_way=0>"


async def test_the_end_of_the_service_ends_what_is_under_way(answers, maker):
    maker.gate.clear()
    waiting = asyncio.ensure_future(answers.once("a", "key", b"request", maker))
    await asyncio.wait_for(maker.begun.wait(), 60)
    await answers.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert maker.made == 0
