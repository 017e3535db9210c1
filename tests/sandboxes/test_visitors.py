"""Cells that another client of the kernel runs."""

import pytest_asyncio
from jupyter_client.asynchronous.client import AsyncKernelClient

from podflare_nb.sandboxes.execution import ExecutionRequest

from .conftest import SECONDS, first_output, run


@pytest_asyncio.fixture
async def lab(house, sandbox):
    """A JupyterLab, as the kernel sees one."""
    await run(sandbox, "1")
    client = AsyncKernelClient()
    client.load_connection_info(dict(house.kernels.handles[0].connection_info))
    client.start_channels(hb=False)
    await client.wait_for_ready(timeout=SECONDS)
    yield client
    client.stop_channels()
    client.context.destroy(linger=0)


async def ended(observed, count):
    await observed.changes.until(lambda: len(observed.ended) >= count)


async def test_a_cell_run_in_jupyterlab_is_observed_with_role_user(house, sandbox, lab):
    observed = house.observed[sandbox.id]
    lab.execute("print('from lab')\n1/0")
    await ended(observed, 2)
    cell_id, request, source = observed.started[1]
    assert source == "print('from lab')\n1/0"
    assert request.provenance.role == "user"
    mine = [output for cell, output in observed.outputs if cell == cell_id]
    assert [output["output_type"] for output in mine] == ["stream", "error"]
    result = observed.ended[1][1]
    assert (result.status, result.exit_code, result.execution_count) == ("error", 1, 2)


async def test_it_counts_as_use_of_the_sandbox(house, sandbox, lab):
    before = sandbox.last_active_at
    lab.execute("1")
    await ended(house.observed[sandbox.id], 2)
    assert sandbox.last_active_at > before


async def test_its_output_does_not_reach_our_execution(house, sandbox, lab):
    execution = await sandbox.execute(ExecutionRequest("print('on', flush=True)\nimport time\ntime.sleep(0.2)"))
    assert await first_output(execution)
    lab.execute("print('from lab')")
    await ended(house.observed[sandbox.id], 3)
    texts = [o["text"] for c, o in house.observed[sandbox.id].outputs if c == execution.cell_id]
    assert texts == ["on\n"]


async def test_a_cell_of_ours_behind_a_failing_one_of_theirs_says_that_it_did_not_run(house, sandbox, lab):
    lab.execute("print('on', flush=True)\nimport time\ntime.sleep(0.3)\n1/0", stop_on_error=True)
    observed = house.observed[sandbox.id]
    await observed.changes.until(lambda: len(observed.started) == 2)
    ran = await run(sandbox, "print(1)")
    assert ran.text == "1\n" or "Run it again" in ran.result.message
