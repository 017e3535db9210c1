"""Turns of the chat in the transcript."""

from __future__ import annotations

import pytest

from podflare_nb.protocol.provenance import Model

CLAUDE = Model(provider="anthropic", id="claude")


async def test_a_turn_reads_as_message_runs_and_answer(sandbox, transcript, read):
    transcript.begin_turn("t1", "What is 6*7?", principal="tenant:1", model=CLAUDE)
    sandbox.run("print(6*7)", {"output_type": "stream", "name": "stdout", "text": "42\n"}, turn_id="t1")
    answer = transcript.add_markdown("t1", "assistant", "It", model=CLAUDE)
    transcript.append_markdown(answer, " is ")
    transcript.append_markdown(answer, "42.")
    transcript.end_turn("t1", "ok", usage={"input_tokens": 3, "output_tokens": 4, "requests": 1})
    notebook = await read()
    assert [(cell["cell_type"], cell["source"]) for cell in notebook["cells"]] == [
        ("markdown", "What is 6*7?"),
        ("code", "print(6*7)"),
        ("markdown", "It is 42."),
    ]
    stamps = [cell["metadata"]["podflare_nb"] for cell in notebook["cells"]]
    assert [(stamp["role"], stamp["seq"], stamp["turn_id"]) for stamp in stamps] == [
        ("user", 0, "t1"),
        ("tool", 1, "t1"),
        ("assistant", 2, "t1"),
    ]
    assert stamps[0]["principal"] == "tenant:1"
    assert stamps[2]["model"] == {"provider": "anthropic", "id": "claude"}
    noon = "2026-11-23T12:00:00Z"
    assert notebook["metadata"]["podflare_nb"]["turns"] == [
        {
            "turn_id": "t1",
            "status": "ok",
            "message": "What is 6*7?",
            "model": {"provider": "anthropic", "id": "claude"},
            "started_at": noon,
            "ended_at": noon,
            "usage": {"input_tokens": 3, "output_tokens": 4, "requests": 1},
        }
    ]


async def test_turns_are_listed_oldest_first_with_their_whole_message(transcript):
    long = "word " * 1000
    transcript.begin_turn("t1", long)
    transcript.end_turn("t1", "ok")
    transcript.begin_turn("t2", "second")
    first, second = await transcript.turns()
    assert (first.turn_id, first.status, first.message) == ("t1", "ok", long)
    assert (second.turn_id, second.status, second.ended_at) == ("t2", "running", None)


async def test_the_title_is_the_first_message_on_one_line(transcript, store):
    assert transcript.title is None
    transcript.begin_turn("t1", "Load\n sales.csv")
    transcript.end_turn("t1", "ok")
    transcript.begin_turn("t2", "other")
    assert transcript.title == "Load sales.csv"
    await transcript.close()
    assert store.open(transcript.header.sandbox_id).title == "Load sales.csv"


@pytest.mark.parametrize(
    ("message", "title"),
    [
        ("```python\nx = 1\nprint(x)\n```", "x = 1 print(x)"),
        ("Please run\n```bash\nls\n```\nand tell me", "Please run ls and tell me"),
        ("~~~\nls\n~~~", "ls"),
        ("```\n```", None),
        ("  \n ", None),
        ("word " * 100, ("word " * 16)[:79] + "…"),
    ],
)
async def test_the_title_of_a_message_shows_no_fences(transcript, message, title):
    transcript.begin_turn("t1", message)
    assert transcript.title == title


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("limit", "**The turn ended at a limit.** After 10 steps."),
        ("error", "**The turn failed.** After 10 steps."),
        ("cancelled", "**The turn was cancelled.** After 10 steps."),
    ],
)
async def test_a_turn_that_did_not_end_well_says_why_in_the_notebook(transcript, read, status, words):
    transcript.begin_turn("t1", "go")
    transcript.end_turn("t1", status, error="After 10 steps.")
    notebook = await read()
    assert notebook["cells"][-1]["source"] == words
    assert notebook["cells"][-1]["metadata"]["podflare_nb"]["status"] == status
    [turn] = await transcript.turns()
    assert (turn.status, turn.error) == (status, "After 10 steps.")


async def test_messages_of_an_agent_that_runs_elsewhere_are_cells_without_a_turn(transcript, read):
    transcript.add_markdown("their-turn", "user", "Please count.", operator="agent:theirs")
    transcript.add_markdown("their-turn", "assistant", "Counted.")
    notebook = await read()
    assert [cell["source"] for cell in notebook["cells"]] == ["Please count.", "Counted."]
    assert notebook["metadata"]["podflare_nb"]["turns"] == []


async def test_words_that_utf8_cannot_hold_do_not_break_the_notebook(transcript, validated):
    transcript.begin_turn("t\ud800", "m\ud800", operator="o\ud800")
    transcript.end_turn("t\ud800", "error", error="e\ud800", usage={"x": float("nan")})
    assert b"The turn failed" in await transcript.ipynb()
    validated(await transcript.notebook())
