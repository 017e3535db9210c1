"""kill -9 of a process that records: whatever it had told anybody is in the notebook."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

import pytest

from podflare_nb.transcripts import TranscriptStore

LIVE = "sbx_" + "a" * 32

RECORDING = """
import sys
from datetime import datetime, UTC
from pathlib import Path
from podflare_nb.sandboxes.execution import ExecutionRequest, ExecutionResult
from podflare_nb.transcripts import Recorder, TranscriptHeader, TranscriptStore

store = TranscriptStore(Path(sys.argv[1]))
transcript = store.create(TranscriptHeader("sbx_" + "a" * 32, "tenant-1", "t", "T", datetime.now(UTC)))
recorder = Recorder(transcript)
transcript.begin_turn("t1", "count for ever")
cell = None
for number in range(10_000_000):
    if number % 7 == 0:
        cell = transcript.new_cell_id()
        recorder.execution_started(cell, ExecutionRequest("count()"), "count()")
    recorder.execution_output(cell, {"output_type": "stream", "name": "stdout", "text": f"<{number}>"})
    print(number, flush=True)
    if number % 7 == 6:
        recorder.execution_ended(cell, ExecutionResult("ok", 0, number))
"""


BRANCHING = """
import sys
from datetime import datetime, UTC
from pathlib import Path
from podflare_nb.sandboxes.execution import ExecutionRequest, ExecutionResult
from podflare_nb.transcripts import ForkedFrom, Recorder, TranscriptHeader, TranscriptStore

def header(name, origin=None):
    return TranscriptHeader(name, "tenant-1", "t", "T", datetime.now(UTC), forked_from=origin)

store = TranscriptStore(Path(sys.argv[1]))
parent = store.create(header("sbx_" + "a" * 32))
for number in range(10_000_000):
    turn_id, cells = parent.position()
    child = store.fork(parent, header(f"sbx_{number}", ForkedFrom(parent.header.sandbox_id, turn_id, cells, 1.0)))
    recorder = Recorder(child)
    cell = child.new_cell_id()
    recorder.execution_started(cell, ExecutionRequest("count()"), "count()")
    text = f"<{number}>" + "x" * (number % 50 == 7) * 100_000
    recorder.execution_output(cell, {"output_type": "stream", "name": "stdout", "text": text})
    recorder.execution_ended(cell, ExecutionResult("ok", 0, number))
    parent.merge(child, losers=[])
    child.abandon()
    print(number, flush=True)
"""


def acknowledged_before_the_kill(directory, count, program=RECORDING):
    """Kill it after ``count`` lines; everything that it printed until then."""
    process = subprocess.Popen([sys.executable, "-c", program, str(directory)], stdout=subprocess.PIPE, text=True)
    told = [process.stdout.readline() for _ in range(count)]
    process.send_signal(signal.SIGKILL)
    told += process.stdout.readlines()
    process.wait(60)
    process.stdout.close()
    return [line for line in told if line.endswith("\n")]


@pytest.mark.parametrize("count", [1, 7, 500, 3000])
async def test_every_output_that_was_acknowledged_before_a_kill_is_in_the_notebook(tmp_path, validated, count):
    told = await asyncio.to_thread(acknowledged_before_the_kill, tmp_path, count)
    async with TranscriptStore(tmp_path) as store:
        opened = store.open(LIVE)
        notebook = validated(await opened.notebook())
        [turn] = await opened.turns()
    text = "".join(
        output["text"]
        for cell in notebook["cells"]
        for output in cell.get("outputs", ())
        if output["output_type"] == "stream"
    )
    assert text.startswith("".join(f"<{int(line)}>" for line in told))
    assert len(told) >= count
    assert (turn.status, turn.error) == ("error", "The service ended during this turn.")
    assert notebook["cells"][-1]["source"] == "**The turn failed.** The service ended during this turn."
    assert opened.header.tenant_id == "tenant-1"


@pytest.mark.parametrize("count", [1, 60, 300])
async def test_every_branch_that_was_merged_before_a_kill_is_in_the_notebook(tmp_path, validated, count):
    told = await asyncio.to_thread(acknowledged_before_the_kill, tmp_path, count, BRANCHING)
    async with TranscriptStore(tmp_path) as store:
        notebook = validated(await store.open(LIVE).notebook())
        branch = validated(await store.open(f"sbx_{count - 1}").notebook())
    texts = [cell["outputs"][0]["text"] for cell in notebook["cells"]]
    assert [text.rstrip("x") for text in texts[: len(told)]] == [f"<{int(line)}>" for line in told]
    assert len(told) >= count
    assert notebook["cells"][0]["metadata"]["podflare_nb"]["branch"] == {"sandbox_id": "sbx_0"}
    assert [cell["outputs"] for cell in branch["cells"]] == [cell["outputs"] for cell in notebook["cells"][:count]]
    assert not list(tmp_path.glob(".building-*"))
