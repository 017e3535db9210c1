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


def acknowledged_before_the_kill(directory, count):
    """Kill it after ``count`` lines; everything that it printed until then."""
    process = subprocess.Popen([sys.executable, "-c", RECORDING, str(directory)], stdout=subprocess.PIPE, text=True)
    told = [process.stdout.readline() for _ in range(count)]
    process.send_signal(signal.SIGKILL)
    told += process.stdout.readlines()
    process.wait(10)
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
