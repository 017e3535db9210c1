"""What a sandbox may record in all its life."""

from __future__ import annotations

import pytest

from podflare_nb.transcripts import TranscriptStore

BUDGET = 10_000


@pytest.fixture
async def sandbox(tmp_path, make_header, happenings):
    async with TranscriptStore(tmp_path / "small", output_budget=BUDGET) as store:
        yield happenings(store.create(make_header()))


def stream(text):
    return {"output_type": "stream", "name": "stdout", "text": text}


async def test_outputs_over_the_budget_are_told_in_numbers_and_not_recorded(sandbox, validated):
    sandbox.run("x", stream("x" * BUDGET))
    running = sandbox.start("for ever")
    for _ in range(50):
        sandbox.output(running, **stream("y" * 1000))
    notebook = validated(await sandbox.transcript.notebook())
    assert notebook["cells"][1]["outputs"] == [
        {
            "output_type": "stream",
            "name": "stderr",
            "text": "[what comes from here on is not recorded: this notebook may record 10,000 bytes, and has]\n",
        }
    ]
    sandbox.end(running)
    first, second = validated(await sandbox.transcript.notebook())["cells"]
    assert first["outputs"] == [stream("x" * BUDGET)]
    [told] = second["outputs"]
    assert told["text"].startswith("[50 outputs of 52,")
    assert second["metadata"]["podflare_nb"]["over_budget"]["outputs"] == 50
    assert sandbox.transcript.journal.end < BUDGET + 2_000


async def test_code_and_messages_are_recorded_over_the_budget(sandbox, validated):
    sandbox.run("x", stream("x" * BUDGET))
    sandbox.transcript.begin_turn("t1", "go on")
    sandbox.run("y = 1")
    notebook = validated(await sandbox.transcript.notebook())
    assert [cell["source"] for cell in notebook["cells"]] == ["x", "go on", "y = 1"]


async def test_what_comes_over_the_budget_after_a_cells_end_is_told_once(sandbox, validated):
    cell_id = sandbox.run("Thread(...)", stream("x" * BUDGET))
    size = sandbox.transcript.journal.end
    for _ in range(100):
        sandbox.out(cell_id, "late")
    [cell] = validated(await sandbox.transcript.notebook())["cells"]
    assert "what comes from here on is not recorded" in cell["outputs"][-1]["text"]
    assert sandbox.transcript.journal.end < size + 200
