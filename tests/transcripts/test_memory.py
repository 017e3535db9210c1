"""What a sandbox shows in all its life is not held in memory: neither while recording, nor by who reads it."""

from __future__ import annotations

import json
import tracemalloc
from contextlib import aclosing

import pytest

from podflare_nb.transcripts import TranscriptStore, upkeep

from ..faults.traces import own_descriptors, until_no_more

SECONDS = 60
LIVE = "sbx_" + "a" * 32
MIB = 1 << 20
OUTPUT = 1_500_000
RUNS = 4
OUTPUTS = 4
SHOWN = RUNS * OUTPUTS * OUTPUT
SEVERAL_COPIES_OF_ONE_OUTPUT = 6 * OUTPUT


@pytest.fixture(autouse=True)
def only_what_the_test_asks_for(monkeypatch):
    """The file is not brought up to date by itself in the middle of a count."""
    monkeypatch.setattr(upkeep, "REFRESH_SECONDS", 1000)


def display(text):
    return {"output_type": "display_data", "data": {"text/plain": text}, "metadata": {}}


class Held:
    """The most that Python held within, over what it held before; and what it holds after."""

    def __enter__(self):
        tracemalloc.start()
        self._before = tracemalloc.get_traced_memory()[0]
        return self

    def __exit__(self, *_):
        now, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        self.after, self.most = now - self._before, most - self._before


async def length_of(pieces):
    length = 0
    async with aclosing(pieces):
        async for piece in pieces:
            length += len(piece)
    return length


async def show_much(sandbox):
    text = "x" * OUTPUT
    for _ in range(RUNS):
        running = sandbox.start("display(...)")
        for _ in range(OUTPUTS):
            sandbox.output(running, **display(text))
            await length_of(sandbox.transcript.ipynb_pieces())
        sandbox.end(running)


@pytest.fixture
async def warm(sandbox, transcript):
    """Everything is imported that reading needs."""
    sandbox.run("1")
    await transcript.ipynb()
    for form in ("md", "html", "py"):
        await length_of(transcript.export_pieces(form))


@pytest.mark.usefixtures("warm")
async def test_recording_and_reading_the_ipynb_hold_one_output_at_a_time(sandbox, transcript):
    with Held() as held:
        await show_much(sandbox)
        assert await length_of(transcript.ipynb_pieces()) > SHOWN
    assert held.most < SEVERAL_COPIES_OF_ONE_OUTPUT
    assert held.after < MIB


@pytest.mark.usefixtures("warm")
async def test_a_transcript_that_is_read_from_disk_holds_one_output_at_a_time(store, sandbox, transcript):
    await show_much(sandbox)
    await transcript.close()
    async with TranscriptStore(store.root) as later:
        with Held() as held:
            assert await length_of(later.open(LIVE).ipynb_pieces()) > SHOWN
    assert held.most < SEVERAL_COPIES_OF_ONE_OUTPUT


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("form", ["md", "html", "py"])
async def test_an_export_holds_one_output_at_a_time(sandbox, transcript, form):
    await show_much(sandbox)
    with Held() as held:
        length = await length_of(transcript.export_pieces(form))
    assert held.most < 2 * SEVERAL_COPIES_OF_ONE_OUTPUT
    assert (length > SHOWN) == (form == "md"), "a page shows head and tail of a text, a script none"


@pytest.mark.usefixtures("warm")
async def test_an_outline_is_small_and_valid_and_tells_outputs_apart(sandbox, transcript, validated):
    await show_much(sandbox)
    sandbox.run("y", display("y" * OUTPUT))
    with Held() as held:
        outline = validated(await transcript.outline())
    assert held.most < 2 * SEVERAL_COPIES_OF_ONE_OUTPUT
    assert len(json.dumps(outline)) < MIB
    *_, first, second = outline["cells"]
    assert f"{OUTPUT:,} characters, sha256" in first["outputs"][0]["data"]["text/plain"]
    assert first["outputs"][0] != second["outputs"][0]


@pytest.mark.usefixtures("warm")
async def test_many_small_outputs_are_not_held_either(sandbox, transcript):
    with Held() as held:
        for _ in range(5):
            running = sandbox.start("display(...)")
            for number in range(10_000):
                sandbox.output(running, **display(f"{number:08}"))
            sandbox.end(running)
            assert len(await transcript.turns()) == 0
    assert held.after < MIB


@pytest.mark.usefixtures("warm")
async def test_a_stream_that_other_cells_interrupt_is_known_by_few_places(sandbox, transcript):
    cells = [sandbox.start("thread") for _ in range(20)]
    for _ in range(500):
        for cell in cells:
            sandbox.out(cell, "tick\n")
    edition = transcript._projection.edition()
    assert sum(len(cell.runs) for cell in edition.cells) < 2_500 * 20
    notebook = await transcript.notebook()
    assert {cell["outputs"][0]["text"] for cell in notebook["cells"][1:]} == {"tick\n" * 500}


async def test_a_reader_gets_one_edition_however_much_is_recorded_meanwhile(sandbox, transcript, parsed):
    sandbox.run("first", display("x" * MIB))
    pieces = transcript.ipynb_pieces()
    data = await anext(pieces)
    sandbox.run("second")
    await transcript.ipynb()
    async for piece in pieces:
        data += piece
    assert [cell["source"] for cell in parsed(data)["cells"]] == ["first"]


async def test_a_reader_that_leaves_early_leaves_nothing_open(sandbox, transcript):
    sandbox.run("first", display("x" * MIB))
    before = own_descriptors()
    async with aclosing(transcript.ipynb_pieces()) as pieces:
        await anext(pieces)
    async with aclosing(transcript.export_pieces("md")) as pieces:
        await anext(pieces)
    until_no_more(own_descriptors, before, SECONDS)
