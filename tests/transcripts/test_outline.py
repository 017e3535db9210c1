"""The outline: what differs in the notebook differs in it, and it stays small."""

from __future__ import annotations

import json

import pytest

from podflare_nb.transcripts import outline

LONG = "0123456789" * 5_000


def data(mime, value, **metadata):
    return {"output_type": "display_data", "data": {mime: value}, "metadata": metadata}


LARGE = {
    "a stream": lambda text: {"output_type": "stream", "name": "stdout", "text": text},
    "a text": lambda text: data("text/html", text),
    "an image": lambda text: data("image/png", text),
    "json": lambda text: data("application/json", {"rows": [text]}),
    "an error": lambda text: {"output_type": "error", "ename": "E", "evalue": text, "traceback": [text, "end"]},
    "metadata": lambda text: data("text/plain", "x", rows=text),
    "many forms": lambda text: {
        "output_type": "display_data",
        "data": {f"text/{number}": text[:5_000] + text[-10:] for number in range(50)},
        "metadata": {},
    },
}


@pytest.mark.parametrize("name", LARGE)
async def test_a_large_output_is_told_by_its_digest(sandbox, transcript, validated, name):
    for text in (LONG + "a" + LONG, LONG + "b" + LONG, LONG + "a" + LONG):
        sandbox.run("x", LARGE[name](text if name != "many forms" else text[100_000 - 95 :] + text))
    first, second, third = validated(await transcript.outline())["cells"]
    assert len(json.dumps(first)) < 4 * outline.LARGEST_OUTPUT
    assert "sha256" in json.dumps(first)
    assert first["outputs"] == third["outputs"]
    if name != "many forms":
        assert first["outputs"] != second["outputs"]


async def test_small_outputs_are_in_it_as_they_are(sandbox, transcript):
    sandbox.run("x", *(output("short") for output in LARGE.values()))
    assert await transcript.outline() == await transcript.notebook()


async def test_of_many_outputs_the_first_are_shown_and_the_rest_counted(sandbox, transcript, validated):
    sandbox.run("x", *(data("text/plain", "y" * 1000) for _ in range(200)))
    [cell] = validated(await transcript.outline())["cells"]
    *shown, rest = cell["outputs"]
    assert 50 < len(shown) < 70
    assert f"[{200 - len(shown)} more outputs, " in rest["text"]


async def test_a_notebook_of_many_cells_has_an_outline_of_bounded_size(sandbox, transcript, monkeypatch):
    monkeypatch.setattr(outline, "LARGEST_NOTEBOOK", 10_000)
    for _ in range(50):
        sandbox.run("x", data("text/plain", "y" * 1000))
    cells = (await transcript.outline())["cells"]
    assert len(json.dumps(cells)) < 50 * 600 + 10_000
    assert cells[0]["outputs"] == [data("text/plain", "y" * 1000)]
    assert "1 more outputs" in cells[-1]["outputs"][0]["text"]
