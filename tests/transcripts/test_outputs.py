"""Whatever a kernel sends, the notebook is valid, and strict JSON."""

from __future__ import annotations

import json

import pytest


def deep(levels):
    value = "bottom"
    for _ in range(levels):
        value = [value]
    return value


HOSTILE = [
    {},
    {"output_type": "no-such-type"},
    {"output_type": None},
    {"output_type": "stream"},
    {"output_type": "stream", "name": 7, "text": {"a": 1}},
    {"output_type": "stream", "name": "stdout", "text": ["a", "b"]},
    {"output_type": "stream", "name": "stdout", "text": "lone \ud800 surrogate"},
    {"output_type": "display_data"},
    {"output_type": "display_data", "data": "text", "metadata": "text"},
    {"output_type": "display_data", "data": {"text/plain": 7, "image/png": None}, "metadata": {"a": "\udfff"}},
    {"output_type": "display_data", "data": {"application/json": float("nan")}, "metadata": {"x": float("inf")}},
    {"output_type": "display_data", "data": {"application/vnd.x+json": deep(400)}, "metadata": {}},
    {"output_type": "display_data", "data": {"application/json": deep(5000)}, "metadata": {}},
    {"output_type": "display_data", "data": {"": "", "\ud800": "x"}, "metadata": {}},
    {"output_type": "execute_result", "data": {}, "metadata": {}, "execution_count": "seven"},
    {"output_type": "execute_result", "data": {}, "metadata": {}, "execution_count": -1},
    {"output_type": "execute_result", "data": {}, "metadata": {}, "execution_count": True},
    {"output_type": "error"},
    {"output_type": "error", "ename": 1, "evalue": None, "traceback": [1, None]},
    {"output_type": "error", "ename": "E", "evalue": "v", "traceback": "not a list"},
    {"output_type": "update_display_data"},
    {"output_type": "update_display_data", "data": 1, "transient": {"display_id": [1]}},
    {"output_type": "display_data", "data": {}, "metadata": {}, "transient": "x", "extra": 1},
    {"output_type": "clear_output", "wait": "perhaps"},
]


@pytest.mark.parametrize("output", HOSTILE, ids=range(len(HOSTILE)))
async def test_an_output_of_any_shape_leaves_the_notebook_valid(sandbox, transcript, validated, output):
    sandbox.run("x", output)
    sandbox.run("y", {"output_type": "stream", "name": "stdout", "text": "goes on"})

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    notebook = json.loads(await transcript.ipynb(), parse_constant=refuse)
    assert validated(notebook)["cells"][-1]["outputs"][0]["text"] == "goes on"


async def test_a_stream_of_a_hundred_thousand_pieces_is_one_text(sandbox, read):
    running = sandbox.start("x")
    for _ in range(100_000):
        sandbox.out(running, "0123456789")
    sandbox.end(running)
    [cell] = (await read())["cells"]
    assert len(cell["outputs"][0]["text"]) == 1_000_000


async def test_ten_thousand_outputs_are_all_there(sandbox, read):
    outputs = [{"output_type": "display_data", "data": {"text/plain": str(n)}, "metadata": {}} for n in range(10_000)]
    sandbox.run("x", *outputs)
    [cell] = (await read())["cells"]
    assert cell["outputs"] == outputs
