"""The file beside the journal: copied from the one before it, as far as that can be."""

from __future__ import annotations

import os

import pytest

LIVE = "sbx_" + "a" * 32


@pytest.fixture
def path(store, transcript):
    return store.root / transcript.header.sandbox_id / "notebook.ipynb"


@pytest.fixture
def copied(monkeypatch):
    """How many bytes were copied by the kernel, each time."""
    copied = []
    copy = os.copy_file_range
    monkeypatch.setattr(os, "copy_file_range", lambda *args: copied.append(args[2]) or copy(*args))
    return copied


def sources(notebook):
    return [cell["source"] for cell in notebook["cells"]]


async def test_only_cells_that_changed_are_written_again(sandbox, transcript, copied, parsed):
    for number in range(5):
        sandbox.run(f"x = {number}", {"output_type": "stream", "name": "stdout", "text": "y" * 10_000})
    running = sandbox.start("running")
    await transcript.ipynb()
    assert copied == []
    sandbox.end(running)
    sandbox.run("last")
    notebook = parsed(await transcript.ipynb())
    assert sources(notebook) == [*(f"x = {number}" for number in range(5)), "running", "last"]
    [size] = copied
    assert size > 50_000


async def test_a_file_that_is_up_to_date_is_not_written_again(sandbox, transcript, path):
    sandbox.run("x = 1")
    await transcript.ipynb()
    before = path.stat()
    await transcript.ipynb()
    assert path.stat() == before


async def test_a_cell_in_the_middle_that_changes_is_replaced_there(sandbox, transcript, parsed, copied):
    shown = {"output_type": "display_data", "data": {"text/plain": "1%"}, "metadata": {}}
    shown["transient"] = {"display_id": "bar"}
    sandbox.run("first")
    sandbox.run("bar", shown)
    sandbox.run("third")
    await transcript.ipynb()
    sandbox.run("fourth", {**shown, "output_type": "update_display_data", "data": {"text/plain": "much longer"}})
    notebook = parsed(await transcript.ipynb())
    assert len(copied) == 2
    assert notebook == await transcript.notebook()
    assert notebook["cells"][1]["outputs"][0]["data"] == {"text/plain": "much longer"}


@pytest.mark.parametrize("what", ["changed", "removed"])
async def test_a_file_that_somebody_else_touched_is_made_again_from_the_journal(
    sandbox, transcript, path, parsed, what
):
    sandbox.run("x = 1")
    await transcript.ipynb()
    if what == "changed":
        path.write_text("mine\n")
    else:
        path.unlink()
    assert sources(parsed(await transcript.ipynb())) == ["x = 1"]
    sandbox.run("x = 2")
    if what == "changed":
        with path.open("a") as file:
            file.write("mine\n")
    assert sources(parsed(await transcript.ipynb())) == ["x = 1", "x = 2"]
    assert sources(parsed(path.read_bytes())) == ["x = 1", "x = 2"]


async def test_after_a_rest_the_file_is_still_known(sandbox, transcript, copied, parsed):
    sandbox.run("x = 1", {"output_type": "stream", "name": "stdout", "text": "y" * 10_000})
    await transcript.ipynb()
    transcript._projection.forget()
    sandbox.run("x = 2")
    assert sources(parsed(await transcript.ipynb())) == ["x = 1", "x = 2"]
    assert sum(copied) > 10_000
