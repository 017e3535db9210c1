"""The client against the real service: what only the two together can show."""

import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from podflare_nb.client import (
    AsyncSandbox,
    Client,
    ForbiddenError,
    GoneError,
    NotFoundError,
    Sandbox,
    UnauthenticatedError,
)

BIG_BYTES = 8 << 20


@pytest.fixture
def sandbox(service):
    with Sandbox("python-datasci", host=service.url, api_key=service.key) as sandbox:
        yield sandbox


def test_a_plot_comes_back_as_a_picture(sandbox):
    result = sandbox.run_code("import matplotlib.pyplot as plt\nplt.plot([1, 4, 9])\nplt.show()").raise_for_error()
    assert result.pngs[0].startswith(b"\x89PNG")
    assert "<img" in result._repr_html_()


def test_a_value_comes_back_in_all_its_forms(sandbox):
    value = sandbox.run_code("import pandas as pd\npd.DataFrame({'a': [1]})").results[0]
    assert value.is_value
    assert "<table" in value.html
    assert "a" in value.text


def test_a_timeout_is_told_truthfully(sandbox):
    result = sandbox.run_code("while True: pass", timeout_seconds=0.5)
    assert (result.status, result.exit_code, result.ok) == ("timeout", 124, False)
    assert result.message


def test_an_interrupt_from_elsewhere_stops_the_code(sandbox):
    stream = sandbox.run_code_stream("print('on', flush=True)\nwhile True: pass")
    assert next(stream).data == "on"
    sandbox.interrupt()
    last = list(stream)[-1]
    assert (last.type, last.data, last.fields["status"]) == ("exit", 130, "interrupted")
    assert sandbox.run_code("print(1)").ok


def test_leaving_a_stream_interrupts_its_code(sandbox):
    stream = sandbox.run_code_stream("print('on', flush=True)\nwhile True: pass")
    assert next(stream).data == "on"
    stream.close()
    assert sandbox.run_code("print('free')", timeout_seconds=30).stdout == "free"


def test_big_files_go_up_and_come_down_as_they_are(sandbox, tmp_path):
    local = tmp_path / "big.bin"
    local.write_bytes(os.urandom(BIG_BYTES))
    assert sandbox.files.upload(local, "deep/er/big.bin").size == BIG_BYTES
    seen = sandbox.run_code("import hashlib; print(hashlib.sha256(open('deep/er/big.bin','rb').read()).hexdigest())")
    sandbox.files.download("deep/er/big.bin", tmp_path / "back.bin")
    assert (tmp_path / "back.bin").read_bytes() == local.read_bytes()
    assert seen.ok
    assert sandbox.files.stat("deep/er/big.bin").size == BIG_BYTES
    assert sandbox.files.stat("deep").is_dir
    sandbox.files.delete("deep", recursive=True)
    assert not sandbox.files.exists("deep")


def test_what_an_agent_elsewhere_said_and_ran_is_one_turn_of_the_notebook(sandbox):
    told = {"turn_id": "turn_1", "operator": "my agent", "model": "acme:big"}
    ids = [
        sandbox.record("What is six times seven?", role="user", turn_id="turn_1"),
        sandbox.run_code("print(6*7)", tool_call_id="call_1", **told).cell_id,
        sandbox.record("It is **42**.", **told),
    ]
    cells = sandbox.notebook()["cells"]
    assert [cell["id"] for cell in cells] == ids
    assert [cell["cell_type"] for cell in cells] == ["markdown", "code", "markdown"]
    notes = [cell["metadata"]["podflare_nb"] for cell in cells]
    assert [note["role"] for note in notes] == ["user", "tool", "assistant"]
    assert {note["turn_id"] for note in notes} == {"turn_1"}
    assert (notes[1]["tool_call_id"], notes[1]["operator"], notes[2]["model"]["id"]) == ("call_1", "my agent", "big")


def test_threads_that_share_a_sandbox_run_one_after_the_other_and_each_gets_its_own(sandbox):
    sandbox.run_code("runs = []")
    with ThreadPoolExecutor(4) as pool:
        code = "runs.append({0}); print(*range({0}, {0} + 3), sep='\\n')"
        results = list(pool.map(lambda number: sandbox.run_code(code.format(number)).stdout, range(8)))
    assert results == [f"{number}\n{number + 1}\n{number + 2}" for number in range(8)]
    assert sandbox.run_code("print(sorted(runs))").stdout == str(list(range(8)))


def test_a_create_that_is_repeated_with_its_key_makes_one_sandbox(service):
    with Client(service.url, service.key) as client:
        create = client.connection._request("POST", "/v1/sandboxes", {"template": "python-minimal"})
        create.headers["Idempotency-Key"] = "of-test-a-create"
        answers = [json.loads(client.connection._repeated(create, "always", whole=True)[1]) for _ in range(2)]
        assert answers[0]["id"] == answers[1]["id"]
        Sandbox.connect(answers[0]["id"], client=client).close()


def test_a_path_that_leaves_the_workspace_is_refused_by_the_service(sandbox):
    with pytest.raises(ForbiddenError, match="workspace"):
        sandbox.files.read("../../etc/passwd")
    with pytest.raises(ForbiddenError, match="workspace"):
        sandbox.files.read("/etc/passwd")


def test_a_turn_of_the_built_in_agent_gives_cells_and_is_listed(sandbox):
    turn = sandbox.chat("```python\nprint('from chat')\n```", "direct")
    assert turn.ok
    assert "from chat" in [cell.stdout.strip() for cell in turn.cells]
    assert [one.id for one in sandbox.turns()] == [turn.id]
    assert [event.type for event in sandbox.follow(turn.id)][-1] == "turn-end"


def test_the_notebook_can_be_saved_in_every_form_also_after_the_end(sandbox, tmp_path):
    sandbox.run_code("print('kept')")
    sandbox.close()
    for suffix in ("ipynb", "html", "md", "py"):
        assert "kept" in sandbox.save_notebook(tmp_path / f"n.{suffix}").read_text()


def test_the_end_of_a_sandbox_is_told_to_whoever_still_uses_it(service, sandbox):
    other = Sandbox.connect(sandbox.id, host=service.url, api_key=service.key)
    sandbox.close()
    with pytest.raises(GoneError) as caught:
        other.run_code("1")
    assert caught.value.reason == "closed"
    other.close()


def test_a_foreign_id_and_a_wrong_key_are_refused(service):
    with pytest.raises(NotFoundError):
        Sandbox.connect("sbx_" + "0" * 32, host=service.url, api_key=service.key)
    with pytest.raises(UnauthenticatedError):
        Sandbox(host=service.url, api_key="pfnb_wrong")


def test_extend_and_list_tell_of_the_sandbox(service, sandbox):
    info = sandbox.extend(timeout_seconds=1200, labels={"for": "test"})
    assert (info.timeout_seconds, info.labels) == (1200, {"for": "test"})
    listed = {one.id: one for one in Sandbox.list(host=service.url, api_key=service.key)}
    assert listed[sandbox.id].labels == {"for": "test"}


async def test_asynchronous_sandboxes_run_side_by_side(service):
    async def answer(number):
        async with AsyncSandbox("python-minimal", host=service.url, api_key=service.key) as sandbox:
            return (await sandbox.run_code(f"print({number} * 2)")).stdout

    assert await asyncio.gather(*(answer(number) for number in range(4))) == ["0", "2", "4", "6"]


async def test_cancelling_a_call_interrupts_its_code(service):
    async with AsyncSandbox("python-minimal", host=service.url, api_key=service.key) as sandbox:
        started = asyncio.Event()
        code = "print('on', flush=True)\nwhile True: pass"
        call = asyncio.create_task(sandbox.run_code(code, on_stdout=lambda _: started.set()))
        await asyncio.wait_for(started.wait(), 60)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await sandbox.run_code("print('free')", timeout_seconds=30)).stdout == "free"
