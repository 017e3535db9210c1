import pytest
from chat_harness import Chat, until

from podflare_nb.errors import ConflictError


async def test_a_message_that_is_python_runs_as_one_cell_after_the_users(chat: Chat):
    events = await chat.send("print(6*7)")
    assert [event.seq for event in events] == list(range(len(events)))
    assert [event.type for event in events] == [
        "turn-start", "cell-start", "cell-end", "cell-start", "cell-output", "cell-end", "turn-end",
    ]  # fmt: skip
    assert events[3].data["source"] == "print(6*7)"
    assert events[3].data["role"] == "tool"
    assert events[4].data["output"]["text"] == "42\n"
    assert events[5].data | {"cell_id": ""} == {
        "cell_id": "", "status": "ok", "execution_count": events[5].data["execution_count"], "exit_code": 0,
    }  # fmt: skip
    assert events[-1].data["status"] == "ok"
    assert await chat.sources() == [("markdown", "```python\nprint(6*7)\n```"), ("code", "print(6*7)")]


async def test_fenced_blocks_run_in_order_and_share_the_kernel(chat: Chat):
    message = "First:\n```python\nx = 20\n```\nthen\n```py\nx + 1\n```\nand\n```bash\necho $((6*7))\n```\nthat's it"
    events = await chat.send(message)
    cells = await chat.cells()
    assert "".join(cells[0]["source"]) == message
    assert ["".join(cell["source"]) for cell in cells[1:]] == ["x = 20", "x + 1", "%%bash\necho $((6*7))"]
    outputs = [event.data["output"] for event in events if event.type == "cell-output"]
    assert outputs[0]["data"]["text/plain"] == "21"
    assert outputs[1]["text"] == "42\n"
    assert [request.language for request in chat.sandbox.requests] == ["python", "python", "bash"]


async def test_an_error_stops_the_rest_and_the_notebook_says_so(chat: Chat):
    events = await chat.send("```python\n1/0\n```\n```python\nprint('never')\n```")
    assert events[-1].data["status"] == "error"
    assert "The 1 block after it did not run" in events[-1].data["message"]
    assert len(chat.sandbox.requests) == 1
    assert "did not run" in (await chat.sources())[-1][1]


async def test_prose_is_answered_with_how_to_run_code_and_how_to_set_a_model(chat: Chat):
    events = await chat.send("plot it")
    said = "".join(event.data["text"] for event in events if event.type == "text-delta")
    assert "```python" in said
    assert "ANTHROPIC_API_KEY" in said
    assert events[-1].data["status"] == "ok"
    assert not chat.sandbox.requests


async def test_a_bare_word_is_prose_until_a_cell_has_bound_it(chat: Chat):
    await chat.send("total")
    assert not chat.sandbox.requests
    await chat.send("total = 42")
    events = await chat.send("total")
    assert [e.data["output"]["data"]["text/plain"] for e in events if e.type == "cell-output"] == ["42"]


async def test_direct_asks_for_approval_when_the_turn_does_and_records_who_gave_it(chat: Chat):
    turn = chat.start("print('yes')", approve="ask")
    asked = await until(turn, "approval-request")
    assert asked.data["source"] == "print('yes')"
    assert not chat.sandbox.requests
    chat.service.approve(chat.sandbox.id, turn.id, asked.data["tool_call_id"], approved=True, principal="grace")
    assert (await turn.wait()).status == "ok"
    assert chat.sandbox.requests[0].provenance.approved_by == "grace"
    assert (await chat.cells())[-1]["metadata"]["podflare_nb"]["approved_by"] == "grace"


async def test_code_that_is_not_approved_does_not_run_and_the_notebook_shows_it(chat: Chat):
    turn = chat.start("print('no')", approve="ask")
    asked = (await until(turn, "approval-request")).data["tool_call_id"]
    chat.service.approve(chat.sandbox.id, turn.id, asked, approved=False, principal="grace")
    with pytest.raises(ConflictError):
        chat.service.approve(chat.sandbox.id, turn.id, asked, approved=True, principal="grace")
    await turn.wait()
    assert not chat.sandbox.requests
    assert any("grace did not approve" in source for _, source in await chat.sources())
