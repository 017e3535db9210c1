"""The notebook runs again from top to bottom, on a plain ipykernel, and gives the same results."""

from __future__ import annotations

import nbformat
import pytest
from jupyter_client.manager import start_new_async_kernel
from nbclient import NotebookClient

from podflare_nb.sandboxes.execution import ExecutionRequest, ExecutionResult
from podflare_nb.transcripts import Recorder

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

IMAGE = """import base64
from IPython.display import Image, display
pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
display(Image(data=base64.b64decode(pixel)))"""
PROGRAM = [
    "import math\nx = 41\nprint('hello')\nprint('problem', file=__import__('sys').stderr)",
    "x + 1",
    "%%bash\necho from bash\nexit 3",
    "1 / 0",
    "x += 1\nprint(x)",
    IMAGE,
    "from IPython.display import HTML\nHTML('<b>bold</b>')",
    "h = display('1%', display_id='bar')\n_ = display('100%', display_id='bar', update=True)",
    "raise KeyError('missing')",
    "print('the end')",
]


OUTPUTS = {"stream", "display_data", "execute_result", "error", "update_display_data", "clear_output"}


async def record_live(transcript):
    """Run the program in a real kernel, recording what it says as a sandbox does."""
    recorder = Recorder(transcript)
    manager, client = await start_new_async_kernel(kernel_name="python3")
    try:
        for source in PROGRAM:
            cell_id = transcript.new_cell_id()
            recorder.execution_started(cell_id, ExecutionRequest(source), source)

            def hook(message, cell_id=cell_id):
                if message["msg_type"] in OUTPUTS:
                    output = {"output_type": message["msg_type"], **message["content"]}
                    recorder.execution_output(cell_id, output)

            reply = await client.execute_interactive(source, output_hook=hook, timeout=60)
            status = reply["content"]["status"]
            result = ExecutionResult(status, int(status != "ok"), reply["content"]["execution_count"])
            recorder.execution_ended(cell_id, result)
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(now=True)


def comparable(output):
    if output["output_type"] == "error":
        return "error", output["ename"]
    if output["output_type"] == "stream":
        return output["name"], output["text"]
    return output["output_type"], output["data"]


async def test_a_second_run_gives_the_same_outputs(transcript, read):
    transcript.begin_turn("t1", "Show me everything.")
    await record_live(transcript)
    transcript.end_turn("t1", "ok")
    # A cell that had to be stopped would hang a second run.
    stopped = transcript.new_cell_id()
    recorder = Recorder(transcript)
    recorder.execution_started(stopped, ExecutionRequest("while True: pass"), "while True: pass")
    recorder.execution_ended(stopped, ExecutionResult("timeout", 124, 11, message="Over 30 s."))
    first = await read()
    code = [cell for cell in first["cells"] if cell["cell_type"] == "code"]
    outputs = [[comparable(output) for output in cell["outputs"]] for cell in code]
    assert ("stdout", "hello\n") in outputs[0]
    assert "image/png" in outputs[5][0][1]
    assert outputs[7] == [("display_data", {"text/plain": "'100%'"})]

    again = nbformat.from_dict(first)
    for cell in again.cells:
        if cell.cell_type == "code" and "skip-execution" not in cell.metadata.get("tags", []):
            cell.outputs, cell.execution_count = [], None
    again.metadata.kernelspec.name = "python3"
    await NotebookClient(again, timeout=60, kernel_name="python3").async_execute()
    second = [[comparable(o) for o in cell["outputs"]] for cell in again.cells if cell["cell_type"] == "code"]
    assert [sorted(map(repr, cell)) for cell in second] == [sorted(map(repr, cell)) for cell in outputs]
