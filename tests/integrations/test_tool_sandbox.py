import asyncio
import gc
import os
import subprocess
import sys
import threading

import pytest
from sandbox_ends import until_gone
from stand_in_service import KEY, WAIT, StandInService

from podflare_nb.client import AsyncSandbox, Client, Sandbox
from podflare_nb.integrations.code_tool import Provenance
from podflare_nb.integrations.tool_sandbox import ToolSandbox, Wanted, provenance

NOBODY = Provenance()


@pytest.fixture
def wanted(service):
    return Wanted(host=service.url, api_key=service.key)


@pytest.fixture
def held(wanted):
    held = ToolSandbox(wanted=wanted)
    yield held
    held.close()


@pytest.fixture
def lives(service):
    """Whether a sandbox is still there, asked of the service."""

    def ask(sandbox_id):
        with Client(service.url, service.key) as client:
            return sandbox_id in [info.id for info in client.sandboxes()]

    return ask


def code(source):
    return {"code": source}


def test_a_sandbox_is_made_at_the_first_call_that_is_right(held):
    assert held.run({"kode": "1"}, NOBODY).is_error
    assert held.sandbox is None
    assert held.run(code("x = 6"), NOBODY).text == "(no output)"
    assert held.run(code("x * 7"), NOBODY).text == "42"


def test_calls_that_come_at_once_share_one_sandbox(held):
    ids = []

    def first_call():
        held.run(code("1"), NOBODY)
        ids.append(held.sandbox.id)

    threads = [threading.Thread(target=first_call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(ids) == 3
    assert len(set(ids)) == 1


def test_threads_and_loops_that_come_and_go_see_the_same_variables(held):
    async def two():
        return await asyncio.gather(held.run_async(code("n += 1"), NOBODY), held.run_async(code("n += 1"), NOBODY))

    held.run(code("n = 0"), NOBODY)
    asyncio.run(two())
    asyncio.run(two())
    assert held.run(code("n"), NOBODY).text == "4"


def test_leaving_the_last_context_ends_the_sandbox_and_entering_again_makes_another(held, lives):
    held.enter()
    held.enter()
    held.run(code("1"), NOBODY)
    first = held.sandbox.id
    held.leave()
    assert lives(first)
    held.leave()
    assert not lives(first)
    refused = held.run(code("1"), NOBODY)
    assert refused.is_error
    assert "closed this tool's sandbox" in refused.text
    assert "tell the person" in refused.text
    held.enter()
    assert held.run(code("1"), NOBODY).text == "1"
    assert held.sandbox.id != first


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_sandbox_that_was_given_serves_blocking_and_asynchronous_calls_and_stays_open(
    sandbox, async_sandbox, asynchronous
):
    held = ToolSandbox(async_sandbox if asynchronous else sandbox)
    await held.run_async(code("given = 5"), NOBODY)
    assert (await asyncio.to_thread(held.run, code("given"), NOBODY)).text == "5"
    await asyncio.to_thread(held.close)
    assert (await held.run_async(code("given"), NOBODY)).is_error
    assert (await async_sandbox.info()).state != "closed"


def test_two_tools_may_share_a_sandbox(sandbox):
    one, other = ToolSandbox(sandbox), ToolSandbox(sandbox)
    one.run(code("shared = 1"), NOBODY)
    assert other.run(code("shared + 1"), NOBODY).text == "2"


def test_the_end_of_a_sandbox_of_its_own_is_told_once_and_the_next_call_gets_a_new_one(held, service):
    held.run(code("x = 1"), NOBODY)
    Sandbox.connect(held.sandbox.id, host=service.url, api_key=service.key).close()
    told = held.run(code("x"), NOBODY)
    assert told.is_error
    assert "closed" in told.text
    assert "The next call starts a new sandbox" in told.text
    assert held.run(code("'x' in globals()"), NOBODY).text == "False"


async def test_the_end_of_a_sandbox_that_was_given_stays_told(service):
    async with AsyncSandbox(host=service.url, api_key=service.key) as given:
        await given.close()
        for _ in range(2):
            told = await ToolSandbox(given).run_async(code("1"), NOBODY)
            assert told.is_error
            assert "tell the person" in told.text


async def test_a_sandbox_that_cannot_be_made_is_told_and_tried_again(wanted):
    held = ToolSandbox(wanted=Wanted(host="http://127.0.0.1:9/podflare", api_key="pfnb_none"))
    for _ in range(2):
        told = await held.run_async(code("1"), NOBODY)
        assert told.is_error
        assert "127.0.0.1:9" in told.text
    refused = ToolSandbox(wanted=Wanted("no-such-template", wanted.host, wanted.api_key))
    assert "no-such-template" in refused.run(code("1"), NOBODY).text


async def test_a_cancelled_call_gives_its_stream_up_which_interrupts_the_code():
    came = threading.Event()

    def events():
        came.set()
        yield {"type": "stdout", "data": "first"}
        yield WAIT

    with StandInService() as stand_in:
        stand_in.exec_events = events()
        held = ToolSandbox(wanted=Wanted(host=stand_in.url, api_key=KEY))
        running = asyncio.create_task(held.run_async(code("forever()"), NOBODY))
        assert await asyncio.to_thread(came.wait, 30)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await asyncio.to_thread(stand_in.client_left.wait, 30)
        await asyncio.to_thread(held.close)


async def test_a_tool_that_nobody_closed_ends_its_sandbox_when_it_is_collected(wanted, service):
    held = ToolSandbox(wanted=wanted)
    await held.run_async(code("1"), NOBODY)
    sandbox_id = held.sandbox.id
    del held
    gc.collect()
    await until_gone(sandbox_id, service)


NOBODY_CLOSES = """
import asyncio, os
from podflare_nb.integrations import leftovers
from podflare_nb.integrations.code_tool import Provenance
from podflare_nb.integrations.tool_sandbox import ToolSandbox

held = ToolSandbox()
asyncio.run(held.run_async({"code": "x = 1"}, Provenance()))
child = os.fork()
if child == 0:
    leftovers.end_all()
    os._exit(0)
os.waitpid(child, 0)
assert held.run({"code": "x"}, Provenance()).text == "1", "a forked child ended its parent's sandbox"
print(held.sandbox.id)
"""


def test_the_end_of_the_process_ends_what_nobody_closed_without_a_word(service, lives):
    script = [sys.executable, "-X", "dev", "-W", "error", "-W", "ignore::DeprecationWarning", "-c", NOBODY_CLOSES]
    env = {**os.environ, "PODFLARE_NB_URL": service.url, "PODFLARE_NB_API_KEY": service.key}
    ended = subprocess.run(script, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("sbx_")
    assert not lives(ended.stdout.strip())


def test_names_of_any_length_do_not_make_a_call_fail(held):
    by = provenance("c" * 500, "o" * 500, "p:" + "m" * 500, "t" * 500)
    assert held.run(code("1"), by).text == "1"
    told = held.sandbox.notebook()["cells"][-1]["metadata"]["podflare_nb"]
    assert told["operator"] == "o" * 200
    assert provenance(model="no provider").model is None
    assert provenance(model=":x").model is None


def test_a_model_without_eyes_is_told_of_pictures(sandbox):
    held = ToolSandbox(sandbox, images=False)
    told = held.run(code("import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()"), NOBODY)
    assert told.images == ()
    assert told.text.endswith("[shown in the notebook, not to you: image/png]")


async def test_what_was_said_is_recorded_where_code_ran(held):
    held.record("Too early.", "assistant", NOBODY)
    await held.run_async(code("1"), NOBODY)
    await held.record_async("It is **one**.", "assistant", Provenance(operator="tests"))
    [said] = [cell for cell in held.sandbox.notebook()["cells"] if cell["cell_type"] == "markdown"]
    assert "".join(said["source"]) == "It is **one**."
    assert said["metadata"]["podflare_nb"]["operator"] == "tests"
