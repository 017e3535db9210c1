"""Running code: outputs, ends, deadlines, interrupts, deaths, the queue."""

import asyncio
import os
import signal

import pytest

from podflare_nb.errors import ConflictError
from podflare_nb.sandboxes.execution import ExecutionRequest

from .conftest import SECONDS, first_output, now, run, settings

DEAF = "import signal, ipykernel.kernelbase as k\nsignal.signal(2, signal.SIG_IGN)\nk.signal = lambda *_: None"
"""No cell after this one is interrupted, however early."""


async def test_a_print_comes_as_a_stream_and_exits_0(sandbox):
    ran = await run(sandbox, "print(6*7)")
    assert ran.text == "42\n"
    assert (ran.result.status, ran.result.exit_code, ran.result.execution_count) == ("ok", 0, 1)
    assert ran.result.truncation is None


async def test_variables_stay_from_one_execution_to_the_next(sandbox):
    await run(sandbox, "x = 20")
    assert (await run(sandbox, "print(x + 1)")).text == "21\n"


async def test_the_first_output_of_a_new_sandbox_is_not_lost(house):
    for _ in range(3):
        sandbox = await house.sandbox()
        assert (await run(sandbox, "print('first')")).text == "first\n"


async def test_a_result_keeps_its_mime_bundle_and_count(sandbox):
    ran = await run(sandbox, "class A:\n def _repr_html_(self): return '<b>1</b>'\nA()")
    (output,) = ran.outputs
    assert output["output_type"] == "execute_result"
    assert output["data"]["text/html"] == "<b>1</b>"
    assert output["execution_count"] == 1


async def test_displays_updates_and_clears_come_in_order(sandbox):
    code = (
        "from IPython.display import *\nh = display('a', display_id='d1')\nh.update('b')\n"
        "clear_output(wait=True)\nprint('end')"
    )
    kinds = [o["output_type"] for o in (await run(sandbox, code)).outputs]
    assert kinds == ["display_data", "update_display_data", "clear_output", "stream"]


async def test_a_failed_cell_exits_1_with_its_traceback(sandbox):
    ran = await run(sandbox, "1/0")
    assert (ran.result.status, ran.result.exit_code) == ("error", 1)
    assert ran.outputs[-1]["ename"] == "ZeroDivisionError"
    assert any("division by zero" in line for line in ran.outputs[-1]["traceback"])


async def test_sys_exit_gives_its_number_and_keeps_the_kernel(sandbox):
    assert (await run(sandbox, "import sys; x = 1; sys.exit(3)")).result.exit_code == 3
    ended = (await run(sandbox, "import sys; sys.exit()")).result
    assert (ended.exit_code, ended.status) == (0, "ok")
    assert (await run(sandbox, "print(x)")).text == "1\n"


async def test_bash_runs_and_gives_its_exit_code(sandbox):
    assert (await run(sandbox, "echo $((6*7))", language="bash")).text == "42\n"
    assert (await run(sandbox, "exit 7", language="bash")).result.exit_code == 7
    assert (await run(sandbox, "kill -9 $$", language="bash")).result.exit_code == 137


async def test_code_after_a_failure_runs_at_once(sandbox):
    executions = [await sandbox.execute(ExecutionRequest(code)) for code in ("1/0", "print(1)", "1/0", "print(2)")]
    async with asyncio.timeout(SECONDS):
        codes = [(await execution.result()).exit_code for execution in executions]
    assert codes == [1, 0, 1, 0]


async def test_input_is_refused_instead_of_waited_for(sandbox):
    ran = await run(sandbox, "input()")
    assert ran.outputs[-1]["ename"] == "StdinNotImplementedError"


async def test_executions_run_one_at_a_time_in_order(house, sandbox):
    executions = [await sandbox.execute(ExecutionRequest(f"print({n})")) for n in range(10)]
    async with asyncio.timeout(SECONDS):
        for execution in executions:
            await execution.result()
    observed = house.observed[sandbox.id]
    assert [cell for cell, *_ in observed.started] == [execution.cell_id for execution in executions]
    assert [cell for cell, _ in observed.ended] == [execution.cell_id for execution in executions]


async def test_a_full_queue_refuses_with_a_sentence(make_house):
    sandbox = await make_house(settings(max_queued=2)).sandbox()
    running = await sandbox.execute(ExecutionRequest("print('on')\nimport time\ntime.sleep(60)"))
    await first_output(running)
    waiting = [await sandbox.execute(ExecutionRequest("1")) for _ in range(2)]
    with pytest.raises(ConflictError, match="2 executions wait"):
        await sandbox.execute(ExecutionRequest("1"))
    for execution in (*waiting, running):
        execution.cancel()


async def test_the_observer_sees_what_the_client_sees(house, sandbox):
    ran = await run(sandbox, "print(1)\ndisplay(2)\n3")
    observed = house.observed[sandbox.id]
    assert [output for _, output in observed.outputs] == ran.outputs
    assert observed.ended == [(ran.execution.cell_id, ran.result)]
    assert observed.started[0][2] == "print(1)\ndisplay(2)\n3"


async def test_an_observer_that_fails_does_not_fail_the_execution(house, sandbox, caplog):
    def fail(*_):
        raise OSError("disk full")

    house.observed[sandbox.id].execution_output = fail
    assert (await run(sandbox, "print(1)")).text == "1\n"
    assert "could not be recorded" in caplog.text


async def test_times_are_those_of_the_execution_in_order(sandbox):
    """The reply comes by a socket of its own: when it is read, beside what the other tells, is not told by anything."""
    before = now()
    timing = (await run(sandbox, "print(1)")).result.timing
    assert before <= timing.busy <= timing.execute_input <= timing.idle <= now()
    assert before <= timing.execute_reply <= now()


async def test_an_interrupt_ends_the_cell_with_130_and_keeps_variables(sandbox):
    await run(sandbox, "x = 5")
    execution = await sandbox.execute(ExecutionRequest("print('on', flush=True)\nimport time\ntime.sleep(60)"))
    await first_output(execution)
    await sandbox.interrupt()
    result = await asyncio.wait_for(execution.result(), SECONDS)
    assert (result.status, result.exit_code, result.state_preserved) == ("interrupted", 130, True)
    assert (await run(sandbox, "print(x)")).text == "5\n"


async def test_code_may_be_interrupted_as_soon_as_it_is_sent(house):
    sandbox = await house.sandbox()  # whose kernel nobody has connected yet
    execution = await sandbox.execute(ExecutionRequest("import time\ntime.sleep(60)"))
    behind = await sandbox.execute(ExecutionRequest("print('next')"))
    await sandbox.interrupt()
    result = await asyncio.wait_for(execution.result(), SECONDS)
    assert (result.status, result.exit_code, result.state_preserved) == ("interrupted", 130, True)
    assert (await asyncio.wait_for(behind.result(), SECONDS)).status == "ok"
    assert house.kernels.handles[0].signals == []


async def test_bash_is_interrupted_too(sandbox):
    execution = await sandbox.execute(ExecutionRequest("echo on; sleep 60", language="bash"))
    await first_output(execution)
    await sandbox.interrupt()
    result = await asyncio.wait_for(execution.result(), SECONDS)
    assert (result.status, result.exit_code) == ("interrupted", 130)


async def test_a_deadline_interrupts_and_keeps_variables(sandbox):
    await run(sandbox, "x = 5")
    ran = await run(sandbox, "import time\ntime.sleep(60)", timeout_seconds=0.5)
    assert (ran.result.status, ran.result.exit_code, ran.result.state_preserved) == ("timeout", 124, True)
    assert (await run(sandbox, "print(x)")).text == "5\n"


async def test_code_that_ignores_the_interrupt_loses_its_kernel_and_says_so(make_house):
    house = make_house(settings(grace_seconds=0.2))
    sandbox = await house.sandbox()
    await run(sandbox, f"open('kept', 'w').write('yes'); x = 1\n{DEAF}")
    ran = await run(sandbox, "import time\ntime.sleep(60)", timeout_seconds=0.2)
    assert (ran.result.status, ran.result.exit_code, ran.result.state_preserved) == ("timeout", 124, False)
    assert "variables are lost" in ran.result.message
    after = await run(sandbox, "print(open('kept').read(), 'x' in globals())")
    assert after.text == "yes False\n"
    assert [notice.code for notice in after.execution.notices] == ["kernel_restarted"]
    assert (await run(sandbox, "1")).execution.notices == ()


async def test_cancel_of_a_running_execution_interrupts_and_then_kills(make_house):
    house = make_house(settings(grace_seconds=0.2))
    sandbox = await house.sandbox()
    code = "import signal\nsignal.signal(2, signal.SIG_IGN)\nprint('on', flush=True)\nimport time\ntime.sleep(60)"
    execution = await sandbox.execute(ExecutionRequest(code))
    await first_output(execution)
    execution.cancel()
    result = await asyncio.wait_for(execution.result(), SECONDS)
    assert (result.status, result.exit_code, result.state_preserved) == ("interrupted", 130, False)
    assert house.kernels.handles[0].signals == [signal.SIGINT, signal.SIGKILL]


async def test_cancel_of_a_waiting_execution_takes_it_out_of_the_queue(house, sandbox):
    first = await sandbox.execute(ExecutionRequest("print('on', flush=True)\nimport time\ntime.sleep(60)"))
    second = await sandbox.execute(ExecutionRequest("print(2)"))
    await first_output(first)
    second.cancel()
    assert (await second.result()).exit_code == 130
    first.cancel()
    await asyncio.wait_for(first.result(), SECONDS)
    assert len(house.observed[sandbox.id].started) == 1


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("import os; os._exit(3)", "exited with code 3"),
        ("import os; os.kill(os.getpid(), 9)", "was killed (SIGKILL)"),
        ("import ctypes; ctypes.string_at(0)", "crashed (SIGSEGV)"),
    ],
)
async def test_a_kernel_that_dies_under_code_is_replaced_and_the_cause_told(sandbox, code, cause):
    await run(sandbox, "open('kept', 'w').write('yes')")
    ran = await run(sandbox, f"print('before', flush=True)\n{code}")
    assert (ran.result.status, ran.result.exit_code, ran.result.state_preserved) == ("died", 137, False)
    assert cause in ran.result.message
    after = await run(sandbox, "print(open('kept').read())")
    assert after.text == "yes\n"
    assert cause in after.execution.notices[0].message
    assert sandbox.kernel.last_exit is not None


async def test_closing_every_descriptor_ends_the_kernel_and_it_is_replaced(sandbox):
    ran = await run(sandbox, "import os, time\nos.closerange(3, 1000)\ntime.sleep(60)", timeout_seconds=20)
    assert (ran.result.exit_code, ran.result.state_preserved) == (137, False)
    assert (await run(sandbox, "print(1)")).text == "1\n"


async def test_a_kernel_that_dies_while_idle_is_replaced_at_once(house, sandbox):
    await run(sandbox, "x = 1")
    first = house.kernels.handles[0]
    os.kill(first.plain.process.pid, signal.SIGKILL)
    await asyncio.wait_for(asyncio.shield(first.exited), SECONDS)
    after = await run(sandbox, "print('x' in globals())")
    assert after.text == "False\n"
    assert after.execution.notices[0].code == "kernel_restarted"
    assert sandbox.kernel.last_exit.signal == signal.SIGKILL


async def test_what_waits_behind_a_death_runs_on_the_next_kernel(sandbox):
    dying = await sandbox.execute(ExecutionRequest("import os; os._exit(1)"))
    waiting = await sandbox.execute(ExecutionRequest("print('lived')"))
    async with asyncio.timeout(SECONDS):
        assert (await dying.result()).status == "died"
        assert (await waiting.result()).status == "ok"


async def test_a_thread_that_prints_after_its_cell_is_heard_in_the_running_one(sandbox):
    code = (
        "import threading, time\ne = threading.Event()\n"
        "def late():\n    e.wait()\n    print('late', flush=True)\n"
        "t = threading.Thread(target=late); t.start()"
    )
    await run(sandbox, code)
    ran = await run(sandbox, "e.set(); t.join(); print('done')")
    assert "late" in ran.text


async def test_outputs_can_be_read_after_the_end(sandbox):
    execution = await sandbox.execute(ExecutionRequest("print(1)\nprint(2)"))
    await asyncio.wait_for(execution.result(), SECONDS)
    assert "".join([output["text"] async for output in execution.outputs()]) == "1\n2\n"


async def test_close_ends_what_runs_and_what_waits(house, sandbox):
    running = await sandbox.execute(ExecutionRequest("print('on', flush=True)\nimport time\ntime.sleep(60)"))
    waiting = await sandbox.execute(ExecutionRequest("1"))
    await first_output(running)
    await house.manager.close(sandbox.tenant_id, sandbox.id)
    for execution in (running, waiting):
        result = await execution.result()
        assert (result.status, result.message) == ("died", "The sandbox was closed.")
    assert len(house.observed[sandbox.id].ended) == 1


async def test_a_fault_with_one_message_loses_none_that_came_with_it(sandbox, caplog):
    def fail(*_):
        raise ZeroDivisionError

    await run(sandbox, "1")
    sandbox._executor.replay.output = fail
    ran = await run(sandbox, "print('lost')\nx = 1")
    assert (ran.result.status, ran.text) == ("ok", "")
    assert sandbox.kernel._connection.failed == 1
    assert "could not be handled" in caplog.text


async def test_a_kernel_that_never_answers_is_ended_and_replaced(house, monkeypatch):
    monkeypatch.setattr("podflare_nb.sandboxes.kernel_keeper.READY_SECONDS", 2.0)
    house.kernels.stop_next = True
    sandbox = await house.sandbox()
    ran = await run(sandbox, "print(1)")
    assert ran.text == "1\n"
    assert "did not answer within 2 seconds" in ran.execution.notices[0].message
