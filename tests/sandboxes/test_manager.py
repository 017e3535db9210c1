"""Making, finding, changing and ending sandboxes."""

import asyncio
import os
import signal
from datetime import timedelta

import pytest

from podflare_nb.errors import (
    ConflictError,
    GoneError,
    InvalidArgumentError,
    NoCapacityError,
    NotFoundError,
    QuotaExceededError,
)
from podflare_nb.sandboxes.creation import CreateSpec
from podflare_nb.sandboxes.execution import ExecutionRequest
from podflare_nb.sandboxes.manager import _lease
from podflare_nb.sandboxes.sandbox import End

from .conftest import SECONDS, TENANT, first_output, run, settings


async def ended(house, count=1):
    await house.kernels.changes.until(lambda: len(house.ended) >= count)


def reason(house, sandbox):
    with pytest.raises(GoneError) as gone:
        house.manager.get(TENANT, sandbox.id)
    return gone.value.details["reason"]


async def test_a_sandbox_is_ready_and_in_the_book(house, sandbox):
    assert sandbox.id.startswith("sbx_")
    assert len(sandbox.id) == 36
    assert sandbox.state == "ready"
    record = house.book.get(sandbox.id)
    assert (record.tenant_id, record.kernel_id, record.ended_at) == (TENANT, sandbox.kernel_id, None)
    assert house.manager.get(TENANT, sandbox.id) is sandbox


async def test_it_is_busy_while_it_works(sandbox):
    execution = await sandbox.execute(ExecutionRequest("print('on', flush=True)\nimport time\ntime.sleep(60)"))
    await first_output(execution)
    assert sandbox.state == "busy"
    assert _lease(sandbox).idle_at is None
    execution.cancel()
    await asyncio.wait_for(execution.result(), SECONDS)
    assert sandbox.state == "ready"


async def test_parallel_creates_stop_exactly_at_the_limit(make_house):
    house = make_house(settings(max_live_per_tenant=2))
    made = await asyncio.gather(*(house.sandbox() for _ in range(6)), return_exceptions=True)
    assert sum(isinstance(one, QuotaExceededError) for one in made) == 4
    assert len(house.manager.live) == 2


async def test_a_closed_sandbox_makes_room(make_house):
    house = make_house(settings(max_live_per_tenant=1))
    await house.manager.close(TENANT, (await house.sandbox()).id)
    await house.sandbox()


async def test_a_create_that_failed_makes_room(make_house):
    house = make_house(settings(max_live_per_tenant=1))
    house.kernels.refuse = True
    with pytest.raises(NoCapacityError):
        await house.sandbox()
    house.kernels.refuse = False
    await house.sandbox()


async def test_a_foreign_sandbox_is_as_unknown_as_one_that_never_was(house, sandbox):
    said = []
    for sandbox_id in (sandbox.id, "sbx_" + "0" * 32):
        with pytest.raises(NotFoundError) as unknown:
            house.manager.get("stranger", sandbox_id)
        said.append(unknown.value.message.replace(sandbox_id, ""))
        with pytest.raises(NotFoundError):
            await house.manager.close("stranger", sandbox_id)
        with pytest.raises(NotFoundError):
            house.manager.record("stranger", sandbox_id)
    assert said[0] == said[1]
    assert house.manager.page("stranger", limit=10) == []


async def test_a_closed_sandbox_is_gone_with_its_reason(house, sandbox):
    await house.manager.close(TENANT, sandbox.id)
    assert sandbox.state == "closed"
    assert reason(house, sandbox) == "closed"
    with pytest.raises(GoneError):
        await house.manager.close(TENANT, sandbox.id)
    with pytest.raises(GoneError):
        await sandbox.execute(ExecutionRequest("1"))
    assert house.kernels.handles[0].exited.done()
    assert house.book.get(sandbox.id).end_reason == "closed"


async def test_closes_at_the_same_time_are_one(house, sandbox):
    closes = [house.manager.close(TENANT, sandbox.id) for _ in range(3)]
    await asyncio.gather(*closes)
    assert house.ended == [sandbox]


async def test_code_on_a_closing_sandbox_is_a_conflict(house, sandbox):
    closing = asyncio.create_task(house.manager.close(TENANT, sandbox.id))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert sandbox.state == "closing"
    with pytest.raises(ConflictError, match="closing"):
        await sandbox.execute(ExecutionRequest("1"))
    await closing


async def test_a_close_whose_client_goes_away_is_finished(house, sandbox):
    closing = asyncio.create_task(house.manager.close(TENANT, sandbox.id))
    await asyncio.sleep(0)
    closing.cancel()
    await ended(house)
    assert sandbox.state == "closed"


async def test_leaving_its_block_closes_a_sandbox(house):
    async with await house.sandbox() as sandbox:
        assert (await run(sandbox, "print(1)")).text == "1\n"
    assert sandbox.state == "closed"
    await sandbox.aclose(End("closed", "again", sandbox.created_at))
    assert sandbox.end.message == "The sandbox was closed."


async def test_an_idle_sandbox_ends_by_itself(house):
    sandbox = await house.sandbox(idle_timeout_seconds=1)
    await ended(house)
    assert reason(house, sandbox) == "idle_timeout"


async def test_a_working_sandbox_is_not_idle_but_ends_with_its_lifetime(house):
    sandbox = await house.sandbox(idle_timeout_seconds=1, timeout_seconds=2)
    execution = await sandbox.execute(ExecutionRequest("import time\ntime.sleep(60)"))
    result = await asyncio.wait_for(execution.result(), SECONDS)
    assert result.message == "The sandbox reached its timeout_seconds and has ended."
    await ended(house)
    assert reason(house, sandbox) == "lifetime"
    assert sandbox.end.at >= sandbox.expires_at


async def test_an_update_changes_book_and_sandbox(house, sandbox):
    await house.manager.update(
        TENANT, sandbox.id, timeout_seconds=100, idle_timeout_seconds=50, labels={"a": "b"}, title="Hello"
    )
    record = house.book.get(sandbox.id)
    for one in (sandbox, record):
        assert (one.timeout_seconds, one.idle_timeout_seconds, one.labels, one.title) == (
            100, 50, {"a": "b"}, "Hello"
        )  # fmt: skip
    assert sandbox.expires_at == sandbox.created_at + timedelta(seconds=100)


async def test_a_shorter_time_ends_a_sandbox_sooner(house, sandbox):
    await house.manager.update(TENANT, sandbox.id, timeout_seconds=1)
    await ended(house)
    assert reason(house, sandbox) == "lifetime"


async def test_a_bad_update_changes_nothing(house, sandbox):
    with pytest.raises(InvalidArgumentError):
        await house.manager.update(TENANT, sandbox.id, labels={"a": "b"}, timeout_seconds=-1)
    assert sandbox.labels == {}


async def test_shutdown_ends_all_and_refuses_new_ones(house):
    sandboxes = [await house.sandbox() for _ in range(2)]
    await house.manager.aclose()
    await house.manager.aclose()
    assert {reason(house, sandbox) for sandbox in sandboxes} == {"shutdown"}
    assert all(handle.exited.done() for handle in house.kernels.handles)
    with pytest.raises(NoCapacityError):
        await house.sandbox()


async def test_a_kernel_that_cannot_be_replaced_ends_the_sandbox(house, sandbox):
    await run(sandbox, "1")
    house.kernels.refuse = True
    os.kill(house.kernels.handles[0].plain.process.pid, signal.SIGKILL)
    await ended(house)
    assert reason(house, sandbox) == "crashed"


async def test_three_deaths_in_a_row_while_starting_end_the_sandbox(house):
    sandbox = await house.sandbox()
    os.kill(house.kernels.handles[0].plain.process.pid, signal.SIGKILL)
    for count in (2, 3):
        await house.kernels.changes.until(lambda count=count: len(house.kernels.handles) == count)
        os.kill(house.kernels.handles[-1].plain.process.pid, signal.SIGKILL)
    await ended(house)
    assert reason(house, sandbox) == "crashed"
    assert "3 times in a row" in sandbox.end.message


async def test_many_deaths_by_the_users_own_code_do_not_end_it(sandbox):
    for _ in range(4):
        assert (await run(sandbox, "import os; os._exit(1)")).result.exit_code == 137
    assert (await run(sandbox, "print(1)")).text == "1\n"


async def test_the_listing_is_the_tenants_own_newest_first(house):
    first, second = await house.sandbox(), await house.sandbox()
    await house.manager.create("other", CreateSpec())
    assert [record.id for record in house.manager.page(TENANT, limit=10)] == [second.id, first.id]


async def test_usage_is_the_handles(sandbox):
    assert (await sandbox.kernel.handle.usage()).pids == 1


async def test_the_replay_has_the_events_of_the_last_executions(sandbox):
    await run(sandbox, "print('one')")
    await run(sandbox, "print('two')")
    assert [b"one" in sandbox.replay(), b"two" in sandbox.replay()] == [True, True]


async def test_an_end_that_cannot_be_recorded_is_heard_of_all_the_same(house, sandbox, monkeypatch):
    def full(*_, **__):
        raise NoCapacityError("The disk is full.")

    monkeypatch.setattr(house.book, "update", full)
    with pytest.raises(NoCapacityError):
        await house.manager.close(TENANT, sandbox.id)
    assert (house.manager.live, house.ended) == ({}, [sandbox])
