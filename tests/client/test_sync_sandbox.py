import json
import threading

import pytest
from stand_in_service import CUT, ENDED_ID, KEY, SANDBOX_ID, WAIT

from podflare_nb.client import (
    Client,
    CodeError,
    GoneError,
    InvalidArgumentError,
    NotFoundError,
    Sandbox,
    StreamBrokenError,
    UnexpectedAnswerError,
)

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def test_a_sandbox_is_there_when_its_constructor_returns(stand_in):
    sandbox = Sandbox("python-minimal", host=stand_in.url, api_key=KEY, idle_timeout_seconds=1800, labels={"a": "b"})
    assert sandbox.id == SANDBOX_ID
    asked = json.loads(stand_in.bodies("POST", "/sandboxes")[0])
    assert asked == {"template": "python-minimal", "idle_timeout_seconds": 1800, "labels": {"a": "b"}}


def test_leaving_with_closes_the_sandbox_once(stand_in):
    with Sandbox(host=stand_in.url, api_key=KEY) as sandbox:
        sandbox.close()
    sandbox.close()
    assert len(stand_in.bodies("DELETE", SANDBOX_ID)) == 1
    assert "closed" in repr(sandbox)


def test_closing_a_sandbox_that_has_ended_is_no_error(stand_in, sandbox):
    stand_in.refusals.append((410, "gone", "It was closed.", {"reason": "closed"}))
    sandbox.close()


def test_run_code_gives_what_was_printed_and_how_it_ended(sandbox):
    result = sandbox.run_code("print(6*7)")
    assert (result.stdout, result.stderr, result.exit_code, result.ok) == ("42", "", 0, True)
    assert (result.status, result.execution_count, result.state_preserved, result.cell_id) == ("ok", 1, True, "c1")


def test_run_code_sends_only_what_was_asked_for(stand_in, sandbox):
    sandbox.run_code("ls", "bash", timeout_seconds=2.5, operator="me")
    body = json.loads(stand_in.bodies("POST", "/exec")[0])
    assert body == {"code": "ls", "language": "bash", "timeout_seconds": 2.5, "operator": "me"}


def test_the_callbacks_get_each_line_and_each_result(stand_in, sandbox):
    stand_in.exec_events = [
        {"type": "stdout", "data": "one"},
        {"type": "stderr", "data": "two"},
        {"type": "display", "data": {"text/plain": "three"}, "metadata": {}},
        {"type": "exit", "data": 0},
    ]
    seen = []
    sandbox.run_code(
        "...",
        on_stdout=lambda line: seen.append(("out", line)),
        on_stderr=lambda line: seen.append(("err", line)),
        on_result=lambda result: seen.append(("result", result.text)),
    )
    assert seen == [("out", "one"), ("err", "two"), ("result", "three")]


def test_a_failed_cell_is_a_result_with_its_error(stand_in, sandbox):
    stand_in.exec_events = [
        {"type": "stderr", "data": "ZeroDivisionError: division by zero"},
        {"type": "error", "data": {"ename": "ZeroDivisionError", "evalue": "division by zero", "traceback": ["t"]}},
        {"type": "exit", "data": 1, "status": "error"},
    ]
    result = sandbox.run_code("1/0")
    assert not result.ok
    assert str(result.error) == "ZeroDivisionError: division by zero"
    with pytest.raises(CodeError, match="division by zero"):
        result.raise_for_error()


def test_rich_results_come_as_bundles_with_their_pictures_decoded(stand_in, sandbox):
    stand_in.exec_events = [
        {"type": "display", "data": {"image/png": PNG, "text/plain": "<Figure>"}, "metadata": {}},
        {"type": "result", "data": {"application/json": {"a": 1}, "text/html": "<b>x</b>"}, "execution_count": 3},
        {"type": "exit", "data": 0, "execution_count": 3},
    ]
    figure, value = sandbox.run_code("plot()").results
    assert figure.png.startswith(b"\x89PNG")
    assert (figure.text, figure.is_value) == ("<Figure>", False)
    assert (value.json, value.html, value.png, value.is_value) == ({"a": 1}, "<b>x</b>", None, True)


def test_an_update_takes_the_place_of_what_was_displayed(stand_in, sandbox):
    stand_in.exec_events = [
        {"type": "display", "data": {"text/plain": "10 %"}, "display_id": "bar"},
        {"type": "display", "data": {"text/plain": "100 %"}, "display_id": "bar", "update": True},
        {"type": "exit", "data": 0},
    ]
    assert [result.text for result in sandbox.run_code("...").results] == ["100 %"]


def test_a_notice_of_cut_output_is_told(stand_in, sandbox):
    stand_in.exec_events = [
        {"type": "notice", "data": {"code": "output_truncated", "message": "900 of 1000 bytes were dropped."}},
        {"type": "something-new", "data": {}},
        {"type": "exit", "data": 0},
    ]
    result = sandbox.run_code("...")
    assert result.truncated
    assert result.notices[0].message == "900 of 1000 bytes were dropped."


def test_the_stream_gives_every_event_with_its_number(sandbox):
    events = list(sandbox.run_code_stream("print(6*7)"))
    assert [(event.type, event.seq) for event in events] == [("stdout", 0), ("exit", 1)]
    assert events[1].fields["status"] == "ok"


def test_events_come_while_the_code_still_runs_and_leaving_the_stream_ends_the_call(stand_in, sandbox):
    stand_in.exec_events = [{"type": "stdout", "data": "first"}, WAIT]
    stream = sandbox.run_code_stream("forever()")
    assert next(stream).data == "first"
    stream.close()
    assert stand_in.client_left.wait(60)


def test_a_stream_that_is_cut_tells_what_is_known(stand_in, sandbox):
    shown = {"type": "display", "data": {"text/plain": "c"}}
    stand_in.exec_events = [{"type": "stdout", "data": "a"}, {"type": "stderr", "data": "b"}, shown, CUT]
    with pytest.raises(StreamBrokenError, match=r"3 events had come.*is not known, it may still run") as caught:
        sandbox.run_code("...")
    error = caught.value
    assert (error.events_received, error.last_seq, error.stdout, error.stderr) == (3, 2, "a", "b")
    assert [result.text for result in error.results] == ["c"]
    assert (error.may_still_run, error.sandbox_id) == (True, SANDBOX_ID)


def test_a_stream_that_is_cut_behind_its_exit_misses_nothing(stand_in, sandbox):
    stand_in.exec_events = [{"type": "stdout", "data": "a"}, {"type": "exit", "data": 0}, CUT]
    assert sandbox.run_code("...").stdout == "a"


def test_a_failure_of_the_service_in_the_middle_of_a_stream_is_told_in_its_words(stand_in, sandbox):
    failed = {"type": "error", "data": {"code": "internal", "message": "The disk is full."}, "seq": -1}
    stand_in.exec_events = [{"type": "stdout", "data": "a"}, failed]
    with pytest.raises(StreamBrokenError, match=r"The disk is full\..*runs no more") as caught:
        sandbox.run_code("...")
    assert (caught.value.may_still_run, caught.value.last_seq, caught.value.stdout) == (False, 0, "a")


def test_a_stream_that_ends_without_an_exit_is_not_taken_for_a_success(stand_in, sandbox):
    stand_in.exec_events = [{"type": "stdout", "data": "a"}]
    with pytest.raises(StreamBrokenError, match="ended without an exit"):
        list(sandbox.run_code_stream("..."))


def test_code_is_never_sent_twice(stand_in, sandbox):
    stand_in.exec_events = [CUT]
    with pytest.raises(StreamBrokenError):
        sandbox.run_code("...")
    assert len(stand_in.bodies("POST", "/exec")) == 1


def test_a_line_that_is_no_event_is_refused(stand_in, sandbox):
    stand_in.exec_events = [{"nothing": 1}]
    with pytest.raises(UnexpectedAnswerError, match="no event"):
        sandbox.run_code("...")


def test_what_an_agent_elsewhere_said_is_recorded_with_its_provenance(stand_in, sandbox):
    assert sandbox.record("I looked.", turn_id="t1", operator="mine", model="acme:big") == "said"
    assert sandbox.record("And?", role="user") == "said"
    first, second = (json.loads(body) for body in stand_in.bodies("POST", "/record"))
    provenance = {"turn_id": "t1", "operator": "mine", "model": "acme:big"}
    assert first == {"message": "I looked.", "role": "assistant", **provenance}
    assert second == {"message": "And?", "role": "user"}


def test_replay_and_interrupt_ask_for_what_they_say(stand_in, sandbox):
    assert [event.data for event in sandbox.replay()] == ["42", 0]
    sandbox.interrupt()
    assert stand_in.requests[-1]["path"].endswith("/interrupt")


def test_info_and_extend_give_the_state_of_the_sandbox(stand_in, sandbox):
    info = sandbox.info()
    assert (info.state, info.template, info.limits["memory_mib"]) == ("ready", "python-datasci", 2048)
    sandbox.extend(7200, labels={"x": "y"})
    body = json.loads(stand_in.bodies("PATCH", SANDBOX_ID)[0])
    assert body == {"timeout_seconds": 7200, "labels": {"x": "y"}}


def test_connect_takes_up_a_sandbox_of_another_process(stand_in):
    sandbox = Sandbox.connect(SANDBOX_ID, host=stand_in.url, api_key=KEY)
    assert sandbox.run_code("print(6*7)").stdout == "42"


def test_connect_to_a_foreign_or_an_ended_sandbox_is_refused(stand_in):
    with pytest.raises(NotFoundError, match="no such sandbox of yours"):
        Sandbox.connect("sbx_" + "0" * 32, host=stand_in.url, api_key=KEY)
    with pytest.raises(GoneError, match="unused for 600 s") as caught:
        Sandbox.connect(ENDED_ID, host=stand_in.url, api_key=KEY)
    assert caught.value.reason == "idle_timeout"


def test_list_goes_through_all_pages(stand_in):
    assert len(Sandbox.list(host=stand_in.url, api_key=KEY, include_closed=True)) == 2
    assert stand_in.requests[-1]["uri"].endswith("?limit=100&include_closed=true&cursor=page-2")


def test_the_client_tells_what_the_service_offers(stand_in):
    with Client(stand_in.url, KEY) as client:
        assert client.is_healthy()
        assert client.templates()[0].is_default
        assert client.capabilities().layers[0].name == "seccomp"
        assert Sandbox(client=client).run_code("print(6*7)").ok


def test_the_notebook_is_given_and_saved_by_its_suffix_also_after_the_end(sandbox, tmp_path):
    sandbox.close()
    assert sandbox.notebook()["asked"] == "notebook"
    saved = sandbox.save_notebook(tmp_path / "talk.html")
    assert json.loads(saved.read_text())["asked"] == "notebook.html"
    with pytest.raises(InvalidArgumentError, match=r"not as 'talk\.docx'"):
        sandbox.save_notebook(tmp_path / "talk.docx")


def test_sandboxes_of_a_process_share_their_connections(stand_in):
    for _ in range(5):
        with Sandbox(host=stand_in.url, api_key=KEY) as sandbox:
            sandbox.run_code("print(6*7)")
    assert len(stand_in.connections) == 1


def test_threads_may_use_one_sandbox(sandbox):
    results = []
    threads = [threading.Thread(target=lambda: results.append(sandbox.run_code("...").stdout)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == ["42"] * 8
