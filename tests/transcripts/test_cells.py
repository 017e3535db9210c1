"""Executions as cells."""

from __future__ import annotations

from podflare_nb.sandboxes.execution import ExecutionRequest, Truncation

PNG = "iVBORw0KGgo="


def stream(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


def display(text, display_id=None, kind="display_data"):
    output = {"output_type": kind, "data": {"text/plain": text}, "metadata": {}}
    return output if display_id is None else {**output, "transient": {"display_id": display_id}}


async def cells_of(read):
    return (await read())["cells"]


async def test_adjacent_pieces_of_one_stream_are_one_output(sandbox, read):
    sandbox.run("x", stream("a"), stream("b\n"), stream("c", "stderr"), stream("d"))
    [cell] = await cells_of(read)
    assert cell["outputs"] == [stream("ab\n"), stream("c", "stderr"), stream("d")]


async def test_carriage_returns_are_kept_raw(sandbox, read):
    sandbox.run("x", stream("10%\r"), stream("20%\b\n"))
    [cell] = await cells_of(read)
    assert cell["outputs"] == [stream("10%\r20%\b\n")]


async def test_rich_outputs_are_kept_whole_without_what_is_transient(sandbox, read):
    image = {
        "output_type": "display_data",
        "data": {"image/png": PNG},
        "metadata": {"image/png": {"width": 3}},
    }
    result = {"output_type": "execute_result", "data": {"text/plain": "42"}, "metadata": {}}
    sandbox.run("x", {**image, "transient": {}}, result)
    [cell] = await cells_of(read)
    assert cell["outputs"] == [image, {**result, "execution_count": 1}]
    assert cell["execution_count"] == 1


async def test_an_update_changes_every_display_of_that_id_also_in_earlier_cells(sandbox, read):
    sandbox.run("x", display("1%", "bar"))
    sandbox.run("y", display("1%", "bar"), display("other", "foo"), stream("s"))
    sandbox.run("z", display("100%", "bar", kind="update_display_data"))
    first, second, third = await cells_of(read)
    assert first["outputs"] == [display("100%")]
    assert second["outputs"] == [display("100%"), display("other"), stream("s")]
    assert third["outputs"] == []


async def test_clear_output_clears_at_once(sandbox, read):
    sandbox.run("x", stream("a"), {"output_type": "clear_output", "wait": False})
    [cell] = await cells_of(read)
    assert cell["outputs"] == []


async def test_clear_output_with_wait_clears_when_the_next_output_comes(sandbox, read):
    running = sandbox.start("x")
    sandbox.out(running, "old")
    sandbox.output(running, output_type="clear_output", wait=True)
    assert (await cells_of(read))[0]["outputs"] == [stream("old")]
    sandbox.out(running, "new")
    assert (await cells_of(read))[0]["outputs"] == [stream("new")]


async def test_a_cell_under_way_shows_what_it_has_so_far(sandbox, read):
    running = sandbox.start("x")
    sandbox.out(running, "so far")
    [cell] = await cells_of(read)
    assert cell["outputs"] == [stream("so far")]
    assert cell["execution_count"] is None
    assert cell["metadata"]["podflare_nb"]["status"] == "running"


async def test_a_cell_says_when_it_ran_in_the_standard_place(sandbox, read):
    sandbox.run("x")
    [cell] = await cells_of(read)
    noon = "2026-11-23T12:00:00Z"
    assert cell["metadata"]["execution"] == {
        "iopub.execute_input": noon,
        "iopub.status.busy": noon,
        "iopub.status.idle": noon,
        "shell.execute_reply": noon,
    }


async def test_a_cell_says_who_ran_it(sandbox, read):
    who = {
        "role": "tool",
        "principal": "tenant:1",
        "operator": "agent:claude",
        "turn_id": "t1",
        "tool_call_id": "call-1",
        "model": {"provider": "anthropic", "id": "claude"},
        "approved_by": "tenant:1",
    }
    sandbox.run("x", **who)
    [cell] = await cells_of(read)
    assert cell["metadata"]["podflare_nb"] == {"schema": 1, "seq": 0, "status": "ok", "exit_code": 0, **who}


async def test_a_failed_cell_does_not_stop_a_second_run(sandbox, read):
    error = {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["E: v"]}
    sandbox.run("x", error, status="error", exit_code=1)
    [cell] = await cells_of(read)
    assert cell["outputs"] == [error]
    assert cell["metadata"]["tags"] == ["raises-exception"]


async def test_a_cell_that_left_by_exit_does_not_stop_a_second_run(sandbox, read):
    error = {"output_type": "error", "ename": "SystemExit", "evalue": "", "traceback": ["SystemExit"]}
    sandbox.run("exit()", error)
    [cell] = await cells_of(read)
    assert cell["metadata"]["podflare_nb"]["status"] == "ok"
    assert cell["metadata"]["tags"] == ["raises-exception"]


async def test_a_cell_that_had_to_be_stopped_says_so_and_is_skipped_in_a_second_run(sandbox, read):
    for status, ename in (("interrupted", "KeyboardInterrupt"), ("timeout", "TimeoutError"), ("died", "KernelDied")):
        sandbox.end(sandbox.start("x"), status, 1, message="It took too long.", state_preserved=False)
        cell = (await cells_of(read))[-1]
        assert cell["metadata"]["podflare_nb"]["status"] == status
        assert cell["metadata"]["podflare_nb"]["state_preserved"] is False
        assert cell["metadata"]["tags"] == ["raises-exception", "skip-execution"]
        [error] = cell["outputs"]
        assert (error["ename"], error["evalue"]) == (ename, "It took too long.")
        assert error["traceback"], "viewers show nothing but the traceback"


async def test_an_interrupted_cell_with_the_kernels_own_error_gets_no_second_one(sandbox, read):
    error = {"output_type": "error", "ename": "KeyboardInterrupt", "evalue": "", "traceback": ["..."]}
    sandbox.run("x", error, status="interrupted", exit_code=130)
    assert (await cells_of(read))[0]["outputs"] == [error]


async def test_truncation_is_said_in_the_outputs_and_in_the_metadata(sandbox, read):
    running = sandbox.start("x")
    sandbox.out(running, "a")
    sandbox.end(running, truncation=Truncation(produced_bytes=5_000_000, kept_bytes=1_000_000))
    [cell] = await cells_of(read)
    assert cell["outputs"][-1]["name"] == "stderr"
    assert "5,000,000 bytes were produced, 1,000,000 were kept" in cell["outputs"][-1]["text"]
    assert cell["metadata"]["podflare_nb"]["truncated"] == {"produced_bytes": 5_000_000, "kept_bytes": 1_000_000}


async def test_the_same_cell_run_again_is_another_cell(sandbox, read):
    for text in ("first", "second"):
        cell_id = sandbox.start("x", cell_id="lab-cell")
        sandbox.out(cell_id, text)
        sandbox.end(cell_id)
    first, second = await cells_of(read)
    assert (first["id"], second["id"]) == ("lab-cell", "lab-cell-2")
    assert (first["outputs"], second["outputs"]) == ([stream("first")], [stream("second")])


async def test_an_id_that_nbformat_does_not_allow_becomes_one_that_it_does(sandbox, read):
    for cell_id in ("", "ä/b", "x" * 200, "x" * 300):
        sandbox.end(sandbox.start("x", cell_id=cell_id) if cell_id else sandbox.start("x", cell_id="?"))
    ids = [cell["id"] for cell in await cells_of(read)]
    assert len(set(ids)) == 4


async def test_output_that_comes_after_the_end_belongs_to_its_cell(sandbox, read):
    cell_id = sandbox.run("Thread(...).start()")
    sandbox.out(cell_id, "late")
    assert (await cells_of(read))[0]["outputs"] == [stream("late")]


async def test_what_is_internal_is_not_recorded(sandbox, read):
    sandbox.recorder.execution_started("c", ExecutionRequest("x", store=False), "x")
    sandbox.out("c", "hidden")
    sandbox.end("c")
    assert await cells_of(read) == []
