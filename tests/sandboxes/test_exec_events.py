"""Outputs as events of the wire, and the replay of the last of them."""

import json

from podflare_nb.sandboxes.exec_events import EventEncoder, encode, stream
from podflare_nb.sandboxes.execution import Execution, ExecutionRequest, ExecutionResult, Notice, Truncation
from podflare_nb.sandboxes.replay import Replay

OK = ExecutionResult("ok", 0, 1)


def out(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


def error(ename="ValueError", evalue="bad", traceback=("\x1b[31mTraceback\x1b[0m", "ValueError: bad")):
    return {"output_type": "error", "ename": ename, "evalue": evalue, "traceback": list(traceback)}


def events(*outputs, language="python", result=OK, keep=None):
    encoder = EventEncoder(language, keep)
    made = [event for output in outputs for event in encoder.output(output, 5)]
    return made + encoder.end(result, "cell", "turn", 6)


def lines(made, kind="stdout"):
    return [event["data"] for event in made if event["type"] == kind]


def test_each_line_is_an_event_without_its_newline():
    made = events(out("a\nb\n"))
    assert made[0] == {"type": "stdout", "data": "a", "seq": 0, "ts": 5}
    assert lines(made) == ["a", "b"]
    assert [event["seq"] for event in made] == [0, 1, 2]


def test_a_partial_line_waits_for_its_newline_or_the_end():
    assert lines(events(out("a"), out("b"), out("c\nd"), out("e"))) == ["abc", "de"]
    assert lines(events(out("a"), out("x\n", "stderr"), out("b\n"))) == ["ab"]


def test_a_carriage_return_belongs_to_its_line():
    assert lines(events(out("a\r\nb\r"), out("\nc\r"))) == ["a\r", "b\r", "c\r"]


def test_empty_lines_and_other_separators_stay():
    assert lines(events(out("\n\na\x0bb\u2028c\n"))) == ["", "", "a\x0bb\u2028c"]


def test_printed_text_that_looks_like_an_event_is_text():
    text = '{"type":"exit","data":0}'
    assert json.loads(encode(events(out(text + "\n"))).splitlines()[0])["data"] == text


def test_a_traceback_is_told_as_lines_without_colours_and_as_an_error():
    made = events(error())
    assert lines(made, "stderr") == ["Traceback", "ValueError: bad"]
    assert lines(made, "error") == [
        {"ename": "ValueError", "evalue": "bad", "traceback": ["\x1b[31mTraceback\x1b[0m", "ValueError: bad"]}
    ]


def test_bash_tells_its_failure_by_the_exit_code_alone():
    made = events(error("CalledProcessError"), language="bash", result=ExecutionResult("error", 7, 1))
    assert [(event["type"], event["data"]) for event in made] == [("exit", 7)]


def test_sys_exit_prints_its_text_and_nothing_for_a_number():
    assert lines(events(error("SystemExit", "3")), "stderr") == []
    assert lines(events(error("SystemExit", "bad luck")), "stderr") == ["bad luck"]


def test_results_and_displays_travel_whole():
    bundle = {"text/plain": "1", "text/html": "<b>1</b>"}
    result = {"output_type": "execute_result", "data": bundle, "metadata": {"a": 1}, "execution_count": 3}
    update = {
        "output_type": "update_display_data", "data": bundle, "metadata": {}, "transient": {"display_id": "d"}
    }  # fmt: skip
    made = events(result, update)
    assert made[0] | {"seq": 0, "ts": 0} == {
        "type": "result", "data": bundle, "metadata": {"a": 1}, "execution_count": 3, "seq": 0, "ts": 0
    }  # fmt: skip
    assert (made[1]["type"], made[1]["display_id"], made[1]["update"]) == ("display", "d", True)


def test_truncation_is_told_with_its_totals_before_the_exit():
    notice, last = events(result=ExecutionResult("ok", 0, 1, truncation=Truncation(100, 40)))
    assert notice["data"]["code"] == "output_truncated"
    assert (notice["data"]["produced_bytes"], notice["data"]["kept_bytes"]) == (100, 40)
    assert last["type"] == "exit"


def test_the_exit_tells_how_it_ended():
    made = events(result=ExecutionResult("timeout", 124, 2, "Time is up.", state_preserved=False))
    assert made[-1] == {
        "type": "exit", "data": 124, "seq": 0, "ts": 6, "status": "timeout", "execution_count": 2,
        "state_preserved": False, "cell_id": "cell", "turn_id": "turn", "message": "Time is up.",
    }  # fmt: skip


def test_every_event_can_be_written_as_json():
    bundle = {"application/json": {"x": float("nan")}}
    display = {"output_type": "display_data", "data": bundle, "metadata": {}}
    for line in encode(events(display)).splitlines():
        json.loads(line)


async def execution():
    return Execution(ExecutionRequest("x"), "cell", lambda _: None)


async def test_the_stream_begins_with_notices_and_ends_with_the_exit():
    live = await execution()
    live.notices = (Notice("kernel_restarted", "It died."),)
    live.put(5, out("a\n"))
    live.put(6, out("b\n"))
    live.finish(7, OK)
    made = [json.loads(line) async for chunk in stream(live) for line in chunk.splitlines()]
    assert [event["type"] for event in made] == ["notice", "stdout", "stdout", "exit"]
    assert [event["seq"] for event in made] == [0, 1, 2, 3]


async def test_the_replay_has_the_same_numbers_as_the_stream_had():
    replay, live = Replay(3, 10**6), await execution()
    replay.started(live)
    text = "".join(f"{n}\n" for n in range(100))
    for output in (out("begin"), out(text), out("last")):
        live.put(5, output)
        replay.output(output, 5)
    live.finish(7, OK)
    replay.ended(OK, 7)
    made = b"".join([chunk async for chunk in stream(live)])
    assert replay.ndjson().splitlines() == made.splitlines()[-3:]


async def test_the_replay_is_bounded_in_bytes():
    replay = Replay(1000, 10_000)
    replay.started(await execution())
    for _ in range(100):
        replay.output(out("x" * 1000 + "\n"), 5)
    assert len(replay.ndjson()) < 12_000
    replay.output(out("y" * 100_000 + "\n"), 5)
    assert b"yy" not in replay.ndjson()


async def test_a_million_pieces_that_nobody_reads_become_one():
    live = await execution()
    for _ in range(1000):
        live.put(5, out("x\n"))
    live.finish(6, OK)
    assert [output["text"] async for output in live.outputs()] == ["x\n" * 1000]


async def test_a_long_text_becomes_events_a_part_at_a_time():
    execution = Execution(ExecutionRequest("1"), "cell", lambda _: None)
    text = "".join(f"{number}\n" for number in range(40_000))
    execution.put(1, {"output_type": "stream", "name": "stdout", "text": text})
    execution.finish(2, ExecutionResult("ok", 0, 1))
    pieces = [piece async for piece in stream(execution)]
    told = [json.loads(line) for piece in pieces for line in piece.splitlines()]
    assert [event["data"] for event in told[:-1]] == [str(number) for number in range(40_000)]
    assert [event["seq"] for event in told] == list(range(40_001))
    assert max(piece.count(b"\n") for piece in pieces) <= 16 * 1024


async def test_what_nobody_reads_waits_packed_and_comes_as_it_was():
    execution = Execution(ExecutionRequest("1"), "cell", lambda _: None)
    displays = [
        {"output_type": "display_data", "data": {"application/json": {"of": [number]}}, "metadata": {}}
        for number in range(100)
    ]
    for display in displays:
        execution.put(1, display)
    for _ in range(1000):
        execution.put(1, {"output_type": "stream", "name": "stdout", "text": "x"})
    assert sum(isinstance(kept, dict) for _, kept, _ in execution._pending) < 20
    assert len(execution._pending[-1][2]) < 300
    execution.finish(2, ExecutionResult("ok", 0, 1))
    read = [output async for output in execution.outputs()]
    assert read[:100] == displays
    assert read[100]["text"] == "x" * 1000
