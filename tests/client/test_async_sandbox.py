import asyncio
import json
from contextlib import aclosing

import pytest
from stand_in_service import KEY, SANDBOX_ID, WAIT

from podflare_nb.client import AsyncClient, AsyncSandbox, NotOpenError
from podflare_nb.client.async_pools import _of_loop


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
    await asyncio.wait_for(came.wait(), 10)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await asyncio.to_thread(stand_in.client_left.wait, 10)


async def test_events_come_while_the_code_still_runs(stand_in, async_sandbox):
    stand_in.exec_events = [{"type": "stdout", "data": "first"}, WAIT]
    async with aclosing(async_sandbox.run_code_stream("forever()")) as events:
        assert (await anext(events)).data == "first"
    assert await asyncio.to_thread(stand_in.client_left.wait, 10)


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
