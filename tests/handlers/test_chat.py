import json

import pytest

from .conftest import assert_refused, events, run


def say(http, sandbox: str, message: str, **more) -> list[dict]:
    return events(http.post(f"/v1/sandboxes/{sandbox}/chat", json={"message": message, "model": "direct", **more}))


def types(told: list[dict]) -> list[str]:
    return [event["type"] for event in told]


def test_a_turn_streams_its_cells_and_ends(http, sandbox):
    told = say(http, sandbox, "print(6*7)")
    assert [event["seq"] for event in told] == list(range(len(told)))
    assert types(told)[0] == "turn-start"
    assert types(told)[-1] == "turn-end"
    assert told[-1]["data"]["status"] == "ok"
    outputs = [event["data"]["output"] for event in told if event["type"] == "cell-output"]
    assert outputs == [{"output_type": "stream", "name": "stdout", "text": "42\n"}]


def test_the_first_message_names_the_sandbox(http, sandbox):
    say(http, sandbox, "print('hello there')")
    say(http, sandbox, "print('again')")
    assert http.get(f"/v1/sandboxes/{sandbox}").json()["title"] == "print('hello there')"


def test_turns_are_listed_oldest_first_also_when_the_sandbox_is_closed(http, sandbox):
    say(http, sandbox, "1")
    say(http, sandbox, "1/0")
    turns = http.get(f"/v1/sandboxes/{sandbox}/chat").json()["turns"]
    assert [turn["message"] for turn in turns] == ["1", "1/0"]
    assert all(turn["ended_at"] for turn in turns)
    http.delete(f"/v1/sandboxes/{sandbox}")
    closed = http.get(f"/v1/sandboxes/{sandbox}/chat").json()["turns"]
    assert [turn["turn_id"] for turn in closed] == [turn["turn_id"] for turn in turns]


def test_a_lost_stream_is_taken_up_after_its_last_seq(http, sandbox):
    told = say(http, sandbox, "print(1)")
    path = f"/v1/sandboxes/{sandbox}/chat/{told[0]['data']['turn_id']}/events"
    assert events(http.get(path)) == told
    assert events(http.get(path, params={"after": 2})) == told[3:]
    assert events(http.get(path, headers={"Last-Event-ID": "2"})) == told[3:]
    for wrong in ("x", "-2", "99999", "9" * 30):
        assert_refused(http.get(path, params={"after": wrong}), 400, "invalid_argument", "after")


def test_a_turn_speaks_server_sent_events_to_whoever_asks(http, sandbox):
    answer = http.post(
        f"/v1/sandboxes/{sandbox}/chat",
        json={"message": "print(1)", "model": "direct"},
        headers={"Accept": "text/event-stream"},
    )
    assert answer.headers["Content-Type"] == "text/event-stream"
    data = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    assert json.loads(data[0])["type"] == "turn-start"
    assert json.loads(data[-1])["type"] == "turn-end"


def test_a_form_that_there_is_not_is_refused_before_the_turn_starts(http, sandbox):
    answer = http.post(f"/v1/sandboxes/{sandbox}/chat?format=xml", json={"message": "1"})
    assert_refused(answer, 400, "invalid_argument", "xml")
    assert http.get(f"/v1/sandboxes/{sandbox}/chat").json()["turns"] == []


def test_a_turn_goes_on_without_its_client_and_is_cancelled_by_a_call(http, sandbox):
    with http.stream(
        "POST", f"/v1/sandboxes/{sandbox}/chat", json={"message": "import time\ntime.sleep(300)", "model": "direct"}
    ) as answer:
        turn = json.loads(next(answer.iter_lines()))["data"]["turn_id"]
    path = f"/v1/sandboxes/{sandbox}/chat"
    assert http.get(path).json()["turns"][0]["status"] == "running"
    assert_refused(http.post(path, json={"message": "2", "model": "direct"}), 409, "conflict", turn)
    assert http.post(f"{path}/{turn}/cancel").status_code == 202
    assert events(http.get(f"{path}/{turn}/events"))[-1]["data"]["status"] == "cancelled"
    assert run(http, sandbox, "1")[-1]["data"] == 0


@pytest.mark.parametrize("approved", [True, False])
def test_code_that_waits_for_a_yes_runs_only_with_it(http, sandbox, approved):
    path = f"/v1/sandboxes/{sandbox}/chat"
    with http.stream("POST", path, json={"message": "print(1)", "model": "direct", "approve": "ask"}) as answer:
        told = []
        for line in answer.iter_lines():
            told.append(json.loads(line))
            if told[-1]["type"] == "approval-request":
                body = {"tool_call_id": told[-1]["data"]["tool_call_id"], "approved": approved}
                turn = told[0]["data"]["turn_id"]
                assert http.post(f"{path}/{turn}/approve", json=body).status_code == 202
    assert ("cell-output" in types(told)) is approved
    assert types(told)[-1] == "turn-end"


def test_a_turn_that_there_is_not_is_not_found(http, sandbox):
    for method, end in (("GET", "events"), ("POST", "cancel")):
        assert_refused(http.request(method, f"/v1/sandboxes/{sandbox}/chat/turn_x/{end}"), 404, "not_found")


def test_a_model_that_there_is_not_is_refused_with_what_to_do(http, sandbox):
    answer = http.post(f"/v1/sandboxes/{sandbox}/chat", json={"message": "1", "model": "nobody:x"})
    assert answer.status_code == 400
    assert "nobody:x" in answer.json()["error"]
