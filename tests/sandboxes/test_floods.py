"""Output without end: what is over the limits is counted, the server's memory stays where it was."""

import asyncio
import gc
import os
from pathlib import Path

import pytest

from podflare_nb.sandboxes.execution import ExecutionRequest

from .conftest import SECONDS, first_output, run

GROWTH_BYTES = 50 << 20


class Peak:
    """The most resident memory since it began."""

    def __init__(self) -> None:
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")
        self._before = self._high()

    def growth(self) -> int:
        return self._high() - self._before

    def _high(self) -> int:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmHWM")


@pytest.mark.parametrize(
    ("code", "produced"),
    [
        ("for _ in range(1_000_000): print(1)", 1_000_000),
        ("import os\nfor _ in range(4000): os.write(1, b'x' * 65536)\nimport sys; sys.stdout.flush()", 9 << 20),
        ("print('x' * 2**28)", 2**28),
        ("for _ in range(50): display({'text/plain': 'x' * 10_000_000}, raw=True)", 500_000_000),
        ("for _ in range(500): display({'text/plain': 'x' * 1_000_000}, raw=True)", 450_000_000),
        ("for _ in range(5000): display(1)", 5000),
    ],
    ids=["a million prints", "endless bytes", "a line of 256 MiB", "10 MB displays", "1 MB displays", "many displays"],
)
async def test_a_flood_is_capped_and_told_and_takes_no_memory(sandbox, code, produced):
    await run(sandbox, "1")
    peak = Peak()
    async with asyncio.timeout(SECONDS):
        execution = await sandbox.execute(ExecutionRequest(code))
        kept = 0
        async for output in execution.outputs():
            kept += len(output.get("text", "")) + sum(map(len, output.get("data", {}).values()))
        result = await execution.result()
    assert peak.growth() < GROWTH_BYTES
    assert result.exit_code == 0
    cut = result.truncation
    if cut is not None:
        assert cut.produced_bytes >= produced
        assert cut.kept_bytes >= kept
    assert kept < 41 << 20
    assert (await run(sandbox, "print(2)")).text == "2\n"


async def test_a_reader_that_never_reads_takes_no_memory(sandbox):
    await run(sandbox, "1")
    peak = Peak()
    execution = await sandbox.execute(ExecutionRequest("for _ in range(300_000): print('x' * 50)"))
    await asyncio.wait_for(execution.result(), SECONDS)
    assert peak.growth() < GROWTH_BYTES


async def test_an_endless_printer_can_be_interrupted(sandbox):
    execution = await sandbox.execute(ExecutionRequest("while True: print('x' * 100)"))
    await first_output(execution)
    execution.cancel()
    result = await asyncio.wait_for(execution.result(), SECONDS)
    assert result.status == "interrupted"
    assert (await run(sandbox, "print(1)")).text == "1\n"


HOSTILE = """
import zmq, threading
kernel = get_ipython().kernel
socket = kernel.iopub_socket
raw = getattr(socket, "io_thread", None)
raw = raw.socket if raw is not None else socket
def send(*frames):
    done = threading.Event()
    def say():
        raw.send_multipart(list(frames)); done.set()
    kernel.iopub_thread.schedule(say) if hasattr(kernel, "iopub_thread") else socket.io_thread.schedule(say)
    done.wait(10)
session = kernel.session
parent = kernel.get_parent()
def forged(kind, content, signature=None, parent=parent):
    frames = session.serialize(session.msg(kind, content, parent=parent))
    if signature is not None: frames[1] = signature
    return [b"t", *frames]
"""


async def test_forged_and_malformed_messages_are_dropped_and_counted(sandbox):
    await run(sandbox, HOSTILE)
    ran = await run(
        sandbox,
        "parent = kernel.get_parent()\n"
        "send(*forged('stream', {'name': 'stdout', 'text': 'forged'}, b'0' * 64, parent))\n"
        "send(b'')\nsend(b'<IDS|MSG>')\nsend(b'x', b'<IDS|MSG>', b'', b'{', b'{', b'{', b'{')\n"
        "send(*forged('stream', {'name': 5}, None, parent))\n"
        "send(*forged('status', {'execution_state': ['idle']}, None, parent))\n"
        "send(*[b'part'] * 5000)\n"
        "print('true')",
    )
    assert ran.text == "true\n"
    assert ran.result.status == "ok"
    assert sandbox.kernel._connection.refused + sandbox._executor.refused >= 5


async def test_claimed_executions_without_number_are_bounded(house, sandbox):
    await run(sandbox, HOSTILE)
    await run(
        sandbox,
        "for n in range(100):\n"
        "    send(*forged('execute_input', {'code': 'x', 'execution_count': n}, None, {'header': "
        "session.msg_header('execute_request')}))",
    )
    observed = house.observed[sandbox.id]
    assert len(observed.started) - len(observed.ended) <= 16


async def test_deep_json_is_refused_and_the_execution_goes_on(sandbox):
    await run(sandbox, HOSTILE)
    ran = await run(
        sandbox,
        "frames = forged('display_data', {}, None, kernel.get_parent())\n"
        "frames[6] = b'[' * 1_000_000\nframes[2] = session.sign(frames[3:7])\nsend(*frames)\nprint(1)",
    )
    assert ran.text == "1\n"


def test_the_process_can_measure_its_peak():
    assert os.access("/proc/self/clear_refs", os.W_OK)
