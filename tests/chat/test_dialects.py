import json

import pytest
from chat_harness import until

from podflare_nb.chat.dialects import choose_dialect
from podflare_nb.errors import InvalidArgumentError

MESSAGE = "Look:\n```python\nprint('hi')\n```\n```python\n1/0\n```"


def records(dialect, events):
    body = b"".join(dialect.encode(event) for event in events).decode()
    return [piece.removeprefix("data: ") for piece in body.split("\n\n") if piece]


@pytest.mark.parametrize(
    ("accept", "asked", "content_type"),
    [
        ("", None, "application/x-ndjson"),
        ("*/*", None, "application/x-ndjson"),
        ("text/event-stream", None, "text/event-stream"),
        ("text/event-stream", "ndjson", "application/x-ndjson"),
        ("", "vercel", "text/event-stream"),
        ("", "ag-ui", "text/event-stream"),
    ],
)
def test_the_query_decides_then_the_accept_header(accept, asked, content_type):
    assert choose_dialect(accept, asked, "sbx_1").content_type == content_type


def test_an_unknown_format_is_refused_with_the_known_ones():
    with pytest.raises(InvalidArgumentError, match="ndjson, sse, vercel, ag-ui"):
        choose_dialect("", "xml", "sbx_1")


async def test_vercels_stream_tells_text_calls_and_their_outputs_and_is_done(chat):
    events = await chat.send(MESSAGE)
    dialect = choose_dialect("", "vercel", chat.sandbox.id)
    assert dialect.headers == {"x-vercel-ai-ui-message-stream": "v1"}
    *chunks, last = records(dialect, events)
    assert last == "[DONE]"
    chunks = [json.loads(chunk) for chunk in chunks]
    assert chunks[0]["type"] == "start"
    assert chunks[-1]["type"] == "finish"
    call = next(chunk for chunk in chunks if chunk["type"] == "tool-input-available")
    assert call["input"] == {"code": "print('hi')", "language": "python"}
    output = next(chunk for chunk in chunks if chunk["type"] == "tool-output-available")
    assert output["toolCallId"] == call["toolCallId"]
    assert output["output"]["outputs"][0]["text"] == "hi\n"


async def test_text_of_the_assistant_is_framed_in_both_dialects(chat):
    events = await chat.send("plot it")
    vercel = [json.loads(r)["type"] for r in records(choose_dialect("", "vercel", "s"), events)[:-1]]
    assert vercel == ["start", "text-start", "text-delta", "text-end", "finish"]
    ag_ui = [json.loads(r)["type"] for r in records(choose_dialect("", "ag-ui", "s"), events)]
    assert ag_ui == [
        "RUN_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "RUN_FINISHED",
    ]  # fmt: skip


async def test_ag_ui_tells_calls_with_their_results(chat):
    told = [json.loads(r) for r in records(choose_dialect("", "ag-ui", "sbx_1"), await chat.send("print('hi')"))]
    assert [event["type"] for event in told] == [
        "RUN_STARTED", "TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", "CUSTOM", "TOOL_CALL_RESULT",
        "RUN_FINISHED",
    ]  # fmt: skip
    assert told[0]["threadId"] == "sbx_1"
    assert json.loads(told[5]["content"])["outputs"][0]["text"] == "hi\n"


async def test_ag_ui_ends_with_the_error_of_a_run_that_failed(chat, monkeypatch):
    monkeypatch.setattr(chat.sandbox, "execute", None)
    told = [json.loads(r) for r in records(choose_dialect("", "ag-ui", "s"), await chat.send("print(1)"))]
    assert told[-1]["type"] == "RUN_ERROR"


async def test_an_approval_request_passes_through_every_dialect(chat):
    turn = chat.start("print(1)", approve="ask")
    event = await until(turn, "approval-request")
    chat.service.cancel(chat.sandbox.id, turn.id, "ada")
    await turn.wait()
    [vercel] = records(choose_dialect("", "vercel", "s"), [event])
    assert json.loads(vercel)["type"] == "data-approval-request"
    [ag_ui] = records(choose_dialect("", "ag-ui", "s"), [event])
    assert json.loads(ag_ui)["name"] == "approval-request"
