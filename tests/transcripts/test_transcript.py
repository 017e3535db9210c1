"""Recording and reading at once, ends, and taking up what a killed server left."""

from __future__ import annotations

import asyncio
import errno
import json
import os

import pytest

from podflare_nb.errors import ConflictError
from podflare_nb.transcripts import TranscriptStore

LIVE = "sbx_" + "a" * 32


def killed(store, transcript):
    """What a server that is killed now leaves: the journal, and no lock on it."""
    transcript.abandon()
    store._live.clear()
    return TranscriptStore(store.root)


async def test_reading_while_writing_sees_every_record_so_far_and_always_a_valid_notebook(
    sandbox, transcript, validated
):
    written = 0

    async def write():
        nonlocal written
        for _ in range(300):
            cell_id = sandbox.start("x")
            for piece in range(5):
                sandbox.out(cell_id, f"{piece}\n")
            sandbox.end(cell_id)
            written += 1
            await asyncio.sleep(0)

    async def read():
        while written < 300:
            before = written
            notebook = validated(json.loads(await transcript.ipynb()))
            assert len(notebook["cells"]) >= before

    await asyncio.gather(write(), read(), read())
    assert len((await transcript.notebook())["cells"]) == 300


async def test_the_file_is_replaced_whole_or_not_at_all(store, sandbox, transcript, parsed):
    path = store.root / LIVE / "notebook.ipynb"
    for number in range(50):
        sandbox.run(f"x = {number}")
        reading = asyncio.create_task(transcript.ipynb())
        if path.exists():
            parsed(path.read_bytes())
        await reading
    assert parsed(path.read_bytes()) == await transcript.notebook()
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["journal.jsonl", "notebook.ipynb"]


async def test_closing_ends_what_is_running_and_leaves_the_final_file(store, sandbox, transcript, parsed):
    transcript.begin_turn("t1", "go")
    sandbox.start("forever()")
    await transcript.close("lifetime")
    notebook = parsed((store.root / LIVE / "notebook.ipynb").read_bytes())
    _, run, notice = notebook["cells"]
    assert run["metadata"]["podflare_nb"]["status"] == "died"
    assert notice["source"] == "**The turn failed.** The sandbox ended during this turn."
    assert notebook["metadata"]["podflare_nb"]["turns"][0]["status"] == "error"
    assert await transcript.notebook() == notebook


async def test_closing_twice_is_closing_once(transcript):
    await asyncio.gather(transcript.close("closed"), transcript.close("idle_timeout"))
    notebook = await transcript.notebook()
    assert notebook["metadata"]["podflare_nb"]["end"]["reason"] == "closed"


async def test_a_word_after_the_end_is_still_recorded(sandbox, transcript, read):
    cell_id = sandbox.run("x")
    await transcript.close()
    sandbox.out(cell_id, "late")
    assert (await read())["cells"][0]["outputs"][0]["text"] == "late"
    transcript.end_turn("t1", "ok")


async def test_after_a_kill_the_running_turn_is_shown_as_ended_by_it(store, sandbox, transcript, validated):
    transcript.begin_turn("t1", "go")
    running = sandbox.start("forever()", turn_id="t1")
    sandbox.out(running, "so far")
    async with killed(store, transcript) as later:
        opened = later.open(LIVE)
        before = (store.root / LIVE / "journal.jsonl").read_bytes()
        notebook = validated(await opened.notebook())
        [turn] = await opened.turns()
        assert (store.root / LIVE / "journal.jsonl").read_bytes() == before, "reading writes nothing"
    _, run, notice = notebook["cells"]
    assert run["outputs"][0]["text"] == "so far"
    assert run["outputs"][1]["evalue"] == "The service ended during this run."
    assert notice["source"] == "**The turn failed.** The service ended during this turn."
    assert (turn.status, turn.error) == ("error", "The service ended during this turn.")


async def test_a_transcript_that_is_taken_up_again_goes_on_below(store, sandbox, transcript, happenings, validated):
    running = sandbox.start("forever()")
    sandbox.out(running, "so far")
    async with killed(store, transcript) as later:
        opened = later.open(LIVE)
        await opened.notebook()
        happenings(opened).run("y = 2")
        notebook = validated(await opened.notebook())
        statuses = [cell["metadata"]["podflare_nb"]["status"] for cell in notebook["cells"]]
        assert statuses == ["died", "ok"]
        await opened.close()
        assert await opened.notebook() != notebook, "its end is in it now"
        assert [cell["source"] for cell in (await opened.notebook())["cells"]] == ["forever()", "y = 2"]


async def test_another_process_may_read_a_live_transcript_and_not_write_it(store, sandbox, validated):
    running = sandbox.start("forever()")
    async with TranscriptStore(store.root) as other:
        seen = other.open(LIVE)
        notebook = validated(await seen.notebook())
        assert notebook["cells"][0]["metadata"]["podflare_nb"]["status"] == "running"
        sandbox.end(running)
        notebook = validated(await seen.notebook())
        assert notebook["cells"][0]["metadata"]["podflare_nb"]["status"] == "ok"
        with pytest.raises(ConflictError):
            seen.add_markdown(None, "user", "mine")


async def test_execution_goes_on_when_the_disk_is_full_and_the_notebook_says_what_is_missing(
    sandbox, read, monkeypatch
):
    sandbox.run("x = 1")

    def full(_fd, _data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        sandbox.run("x = 2", {"output_type": "stream", "name": "stdout", "text": "lost"})
        assert [cell["source"] for cell in (await read())["cells"]] == ["x = 1"]
    sandbox.run("x = 3")
    notebook = await read()
    assert [cell["source"] for cell in notebook["cells"]] == [
        "x = 1",
        "**This transcript is not whole.** 3 records could not be written here (disk full).",
        "x = 3",
    ]
    assert notebook["metadata"]["podflare_nb"]["recording"] == {"lost_records": 3}


async def test_a_notebook_file_that_cannot_be_written_does_not_keep_a_reader_from_it(
    store, sandbox, transcript, read, parsed
):
    (store.root / LIVE / "notebook.ipynb").mkdir()
    sandbox.run("x = 1")
    assert parsed(await transcript.ipynb()) == await read()
    (store.root / LIVE / "notebook.ipynb").rmdir()
