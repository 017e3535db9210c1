import json
import os
import signal
import time

import pytest

from ..faults.traces import kernel_named
from .conftest import assert_refused, events, run, stdout


def test_events_are_numbered_and_end_with_the_exit(http, sandbox):
    answer = http.post(
        f"/v1/sandboxes/{sandbox}/exec", json={"code": "print('a')\nprint('b')\n6*7", "language": "python"}
    )
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    told = events(answer)
    assert [event["seq"] for event in told] == list(range(len(told)))
    assert all(event.keys() >= {"type", "data", "seq", "ts"} for event in told)
    assert [(event["type"], event["data"]) for event in told] == [
        ("stdout", "a"), ("stdout", "b"), ("result", {"text/plain": "42"}), ("exit", 0),
    ]  # fmt: skip
    assert abs(told[0]["ts"] / 1000 - time.time()) < 600


@pytest.mark.parametrize(
    ("code", "language", "exit_code"),
    [("1/0", "python", 1), ("import sys; sys.exit(7)", "python", 7), ("exit 3", "bash", 3), ("true", "bash", 0)],
)
def test_the_exit_is_the_codes_own(http, shared_sandbox, code, language, exit_code):
    assert run(http, shared_sandbox, code, language=language)[-1]["data"] == exit_code


def test_a_failed_cell_tells_its_traceback_and_keeps_the_state(http, sandbox):
    run(http, sandbox, "x = 1")
    told = run(http, sandbox, "x / 0")
    assert any("ZeroDivisionError" in event["data"] for event in told if event["type"] == "stderr")
    assert [event["data"]["ename"] for event in told if event["type"] == "error"] == ["ZeroDivisionError"]
    assert stdout(run(http, sandbox, "print(x)")) == ["1"]


def test_output_comes_while_the_code_runs(http, sandbox):
    code = "import time\nprint('first', flush=True)\nopen('go', 'x')\nwhile True: time.sleep(0.01)"
    with http.stream("POST", f"/v1/sandboxes/{sandbox}/exec", json={"code": code}) as answer:
        lines = answer.iter_lines()
        assert json.loads(next(lines))["data"] == "first"
        assert http.post(f"/v1/sandboxes/{sandbox}/interrupt").status_code == 202
        assert [json.loads(line) for line in lines][-1]["status"] == "interrupted"


def test_a_silent_cell_answers_its_headers_before_it_ends(http, sandbox):
    code = "import time\nwhile True: time.sleep(0.01)"
    with http.stream("POST", f"/v1/sandboxes/{sandbox}/exec", json={"code": code}) as answer:
        assert answer.status_code == 200
        http.post(f"/v1/sandboxes/{sandbox}/interrupt")
        assert json.loads(answer.read().splitlines()[-1])["data"] == 130


def test_code_that_its_kernel_has_not_begun_is_interrupted_when_it_begins(service, http, sandbox):
    run(http, sandbox, "open('/proc/self/comm', 'w').write('to-be-stopped')")
    kernel = kernel_named(service, "to-be-stopped")
    os.kill(kernel.pid, signal.SIGSTOP)
    with http.stream("POST", f"/v1/sandboxes/{sandbox}/exec", json={"code": "while True: pass"}) as answer:
        http.post(f"/v1/sandboxes/{sandbox}/interrupt")
        os.kill(kernel.pid, signal.SIGCONT)
        last = json.loads(answer.read().splitlines()[-1])
    assert (last["data"], last["status"], last["state_preserved"]) == (130, "interrupted", True)


def test_a_client_that_goes_away_ends_its_code(http, sandbox):
    code = "import time\nprint('begun', flush=True)\ntry:\n    time.sleep(300)\nfinally:\n    ended = True"
    with http.stream("POST", f"/v1/sandboxes/{sandbox}/exec", json={"code": code}) as answer:
        assert "begun" in next(answer.iter_lines())
    assert stdout(run(http, sandbox, "print(ended)")) == ["True"]


def test_help_that_is_for_a_pager_is_shown_and_recorded(http, sandbox):
    shown = "".join(stdout(run(http, sandbox, "print?")))
    assert "Prints the values to a stream" in shown
    (cell,) = http.get(f"/v1/sandboxes/{sandbox}/notebook").json()["cells"]
    assert "Prints the values to a stream" in str(cell["outputs"][0]["text"])


def test_a_calls_own_deadline_ends_it_and_keeps_the_state(http, sandbox):
    run(http, sandbox, "x = 5")
    last = run(http, sandbox, "import time; time.sleep(300)", timeout_seconds=0.5)[-1]
    assert (last["status"], last["data"], last["state_preserved"]) == ("timeout", 124, True)
    assert stdout(run(http, sandbox, "print(x)")) == ["5"]


def test_a_command_that_ignores_its_deadline_is_killed_and_the_variables_stay(http, sandbox):
    run(http, sandbox, "x = 1")
    *_, end = run(http, sandbox, "trap '' INT; read < <(sleep 600)", language="bash", timeout_seconds=0.5)
    assert (end["data"], end["status"], end["state_preserved"]) == (124, "timeout", True)
    assert run(http, sandbox, "print(x)")[0]["data"] == "1"


def test_code_that_ignores_its_deadline_loses_its_state_and_is_told_so(http, sandbox):
    # Cells after this one are not interrupted, however early: what would make them so again does nothing any more.
    run(http, sandbox, "import signal, time; x = signal.signal(2, signal.SIG_IGN); signal.signal = lambda *_: None")
    last = run(http, sandbox, "while True: time.sleep(1)", timeout_seconds=0.5)[-1]
    assert (last["status"], last["state_preserved"]) == ("timeout", False)
    after = run(http, sandbox, "print('x' in globals())")
    assert after[0]["type"] == "notice"
    assert stdout(after) == ["False"]


def test_a_kernel_that_ends_itself_is_told_and_replaced(http, sandbox):
    last = run(http, sandbox, "import os; os._exit(3)")[-1]
    assert (last["status"], last["data"]) == ("died", 137)
    assert last["message"]
    assert stdout(run(http, sandbox, "print(1)")) == ["1"]


def test_rich_results_travel_as_whole_bundles(http, sandbox):
    code = "from IPython.display import display, HTML\ndisplay(HTML('<b>x</b>'))"
    told = run(http, sandbox, code)
    assert [event["data"]["text/html"] for event in told if event["type"] == "display"] == ["<b>x</b>"]


def test_text_that_looks_like_an_event_is_text(http, sandbox):
    forged = '{"type":"exit","data":0,"seq":0,"ts":0}'
    told = run(http, sandbox, f"print({forged!r}); raise SystemExit(9)")
    assert stdout(told) == [forged]
    assert told[-1]["data"] == 9


def test_the_replay_has_what_was_told(http, sandbox):
    told = run(http, sandbox, "print('again')")
    replayed = events(http.get(f"/v1/sandboxes/{sandbox}/replay"))
    assert [(event["type"], event["data"]) for event in replayed] == [(event["type"], event["data"]) for event in told]


def test_code_is_recorded_with_who_ran_it(http, sandbox):
    run(http, sandbox, "1", operator="agent:x", turn_id="t1", tool_call_id="c1", model="anthropic:claude")
    stamp = http.get(f"/v1/sandboxes/{sandbox}/notebook").json()["cells"][0]["metadata"]["podflare_nb"]
    assert stamp["principal"] == "local"
    assert (stamp["operator"], stamp["turn_id"], stamp["tool_call_id"]) == ("agent:x", "t1", "c1")
    assert stamp["model"] == {"provider": "anthropic", "id": "claude"}


def test_a_sandbox_that_is_closed_while_code_runs_ends_the_stream_with_an_exit(http, sandbox):
    code = "import time\nprint('begun', flush=True)\ntime.sleep(300)"
    with http.stream("POST", f"/v1/sandboxes/{sandbox}/exec", json={"code": code}) as answer:
        lines = answer.iter_lines()
        next(lines)
        assert http.delete(f"/v1/sandboxes/{sandbox}").status_code == 204
        assert json.loads(list(lines)[-1])["status"] == "died"
    assert_refused(http.post(f"/v1/sandboxes/{sandbox}/exec", json={"code": "1"}), 410, "gone")


def test_a_reader_that_never_reads_holds_nobody_up(http, sandbox, shared_sandbox):
    code = "print('x' * 1000 * 1000 * 5)"
    with http.stream("POST", f"/v1/sandboxes/{sandbox}/exec", json={"code": code}):
        assert stdout(run(http, shared_sandbox, "print('here')")) == ["here"]
