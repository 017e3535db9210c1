import asyncio
import json
import threading
from contextlib import aclosing

import pytest
from stand_in_service import ANSWER_42, CUT, DROP, KEY, SANDBOX_ID, WAIT

from podflare_nb.client import (
    AsyncClient,
    AsyncSandbox,
    NotOpenError,
    ServiceUnreachableError,
    StreamBrokenError,
    TimedOutError,
)
from podflare_nb.client._async import connection
from podflare_nb.client.async_pools import _of_loop
from podflare_nb.client.transport import Timeouts

SECONDS = 60


async def test_a_sandbox_is_there_after_await(stand_in):
    sandbox = await AsyncSandbox(host=stand_in.url, api_key=KEY)
    assert sandbox.id == SANDBOX_ID
    assert (await sandbox.run_code("print(6*7)")).stdout == "42"
    await sandbox.close()


async def test_a_sandbox_that_was_not_awaited_says_what_to_write(stand_in):
    sandbox = AsyncSandbox(host=stand_in.url, api_key=KEY)
    with pytest.raises(NotOpenError, match="async with"):
        await sandbox.run_code("1")
    await sandbox.close()
    assert stand_in.requests == []


async def test_many_sandboxes_of_a_loop_share_a_pool_that_ends_with_the_last(stand_in):
    async def use():
        async with AsyncSandbox(host=stand_in.url, api_key=KEY) as sandbox:
            return await sandbox.run_code("print(6*7)")

    results = await asyncio.gather(*(use() for _ in range(8)))
    assert [result.stdout for result in results] == ["42"] * 8
    assert not _of_loop.get(asyncio.get_running_loop())


async def test_a_cancelled_call_ends_the_request(stand_in, async_sandbox):
    stand_in.exec_events = [{"type": "stdout", "data": "first"}, WAIT]
    came = asyncio.Event()
    call = asyncio.create_task(async_sandbox.run_code("forever()", on_stdout=lambda _: came.set()))
    await asyncio.wait_for(came.wait(), SECONDS)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await asyncio.to_thread(stand_in.client_left.wait, SECONDS)


async def test_events_come_while_the_code_still_runs(stand_in, async_sandbox):
    stand_in.exec_events = [{"type": "stdout", "data": "first"}, WAIT]
    async with aclosing(async_sandbox.run_code_stream("forever()")) as events:
        assert (await anext(events)).data == "first"
    assert await asyncio.to_thread(stand_in.client_left.wait, SECONDS)


async def test_a_stream_that_is_cut_tells_what_is_known_and_a_lost_create_is_repeated(stand_in):
    stand_in.faults.append(DROP)
    async with AsyncSandbox(host=stand_in.url, api_key=KEY) as sandbox:
        stand_in.exec_events = [{"type": "stdout", "data": "a"}, CUT]
        with pytest.raises(StreamBrokenError, match="it may still run") as caught:
            await sandbox.run_code("...")
        assert (caught.value.stdout, caught.value.last_seq) == ("a", 0)
        assert await sandbox.record("said") == "said"
    assert len(stand_in.bodies("POST", "/sandboxes")) == 2


async def test_a_kept_connection_that_the_service_closed_is_replaced_unseen(stand_in, async_sandbox):
    stand_in.drop_idle_connections()
    # No turn of the loop in between: it could not tell the client yet.
    assert (await async_sandbox.run_code("print(6*7)")).ok
    assert len(stand_in.connections) == 2


async def test_a_service_that_is_slow_or_not_there_is_told(stand_in, monkeypatch):
    monkeypatch.setattr(connection, "patient", lambda _: Timeouts(read=0.2))
    async with AsyncClient(stand_in.url, KEY, retries=0) as client:
        stand_in.faults.append(WAIT)
        with pytest.raises(TimedOutError, match="did not answer in time"):
            await client.templates()
    async with AsyncClient("http://127.0.0.1:1/podflare", KEY, retries=0) as nowhere:
        with pytest.raises(ServiceUnreachableError, match="Nothing answers"):
            await nowhere.templates()


async def test_tasks_may_use_one_sandbox_and_one_may_be_cancelled(stand_in, async_sandbox):
    stand_in.exec_events = [{"type": "stdout", "data": "first"}, WAIT]
    came = asyncio.Event()
    waiting = asyncio.create_task(async_sandbox.run_code("forever()", on_stdout=lambda _: came.set()))
    await asyncio.wait_for(came.wait(), SECONDS)
    stand_in.exec_events = ANSWER_42
    others = await asyncio.gather(*(async_sandbox.run_code("print(6*7)") for _ in range(8)))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert [result.stdout for result in others] == ["42"] * 8


def test_two_event_loops_may_use_one_sandbox_at_the_same_time(stand_in):
    together, results = threading.Barrier(2, timeout=SECONDS), []
    client = AsyncClient(stand_in.url, KEY)
    sandbox = AsyncSandbox(client=client)

    async def use():
        together.wait()
        async with client:
            results.append((await sandbox.run_code("print(6*7)")).stdout)
            together.wait()
            results.append((await sandbox.run_code("print(6*7)")).stdout)

    async def make():
        async with client:
            await sandbox

    asyncio.run(make())
    threads = [threading.Thread(target=lambda: asyncio.run(use())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert results == ["42"] * 4


async def test_files_and_notebook_work_beside_the_loop(async_sandbox, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"x" * 600_000)
    await async_sandbox.files.upload(tmp_path / "a.bin", "data/a.bin")
    assert [info.path for info in await async_sandbox.files.list("data")] == ["data/a.bin"]
    await async_sandbox.files.download("data/a.bin", tmp_path / "b.bin")
    assert (tmp_path / "b.bin").read_bytes() == b"x" * 600_000
    await async_sandbox.save_notebook(tmp_path / "n.ipynb")
    assert json.loads((tmp_path / "n.ipynb").read_text())["asked"] == "notebook.ipynb"


async def test_connect_list_and_client_serve_the_asynchronous_side_too(stand_in):
    async with AsyncClient(stand_in.url, KEY) as client:
        sandbox = await AsyncSandbox.connect(SANDBOX_ID, client=client)
        assert (await sandbox.run_code("1")).ok
        assert [info.id async for info in client.sandboxes()] == [SANDBOX_ID] * 2
        assert (await client.templates())[0].name == "python-datasci"
    assert len(await AsyncSandbox.list(host=stand_in.url, api_key=KEY)) == 2
