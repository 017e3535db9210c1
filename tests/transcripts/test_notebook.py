"""The notebook as a whole."""

from __future__ import annotations

import json

import nbformat
import pytest


async def test_the_notebook_says_what_it_runs_on_and_whose_sandbox_it_was(transcript, read):
    metadata = (await read())["metadata"]
    assert metadata["kernelspec"] == {"name": "python3", "display_name": "Python 3", "language": "python"}
    assert metadata["language_info"]["name"] == "python"
    assert metadata["podflare_nb"] == {
        "schema": 1,
        "sandbox_id": transcript.header.sandbox_id,
        "template": "python-datasci",
        "created_at": "2026-11-23T12:00:00Z",
        "turns": [],
    }
    assert "trusted" not in json.dumps(metadata)


async def test_a_tenants_id_is_not_shown_in_the_notebook(transcript):
    assert b"tenant-1" not in await transcript.ipynb()


async def test_the_bytes_and_the_json_are_the_same_notebook(sandbox, transcript, validated):
    sandbox.run("a = 1\nb = 'é'\n", {"output_type": "stream", "name": "stdout", "text": "x\ny\n"})
    transcript.add_markdown(None, "assistant", "")
    notebook = nbformat.reads((await transcript.ipynb()).decode(), as_version=4)
    assert validated(notebook) == await transcript.notebook()


@pytest.mark.parametrize(
    "record",
    [
        {"t": "no-such-record"},
        {"t": "start"},
        {"t": "out", "cell": "x", "out": 7},
        {"t": "end", "cell": ["x"]},
        {"t": "turn", "turn_id": "t", "at": 1e300, "text": "", "cell": "c", "by": {}},
        {"t": "text", "cell": None, "text": None},
        {"t": "lost"},
        None,
    ],
)
async def test_a_record_that_cannot_be_read_is_said_and_the_rest_is_shown(store, transcript, read, record):
    with (store.root / transcript.header.sandbox_id / "journal.jsonl").open("a") as journal:
        journal.write(2 * (json.dumps(record) + "\n"))
    transcript.add_markdown(None, "assistant", "after")
    node = await read()
    assert node["metadata"]["podflare_nb"]["recording"] == {"damaged_records": 2}
    assert [cell["source"] for cell in node["cells"]] == [
        "**This transcript is not whole.** Records could not be read here.",
        "after",
    ]


async def test_outputs_whose_start_was_lost_are_shown_in_a_cell_that_says_so(sandbox, read):
    sandbox.out("c", "x")
    [cell] = (await read())["cells"]
    assert cell["outputs"][0]["text"] == "x"
    assert cell["metadata"]["podflare_nb"]["incomplete"] is True
