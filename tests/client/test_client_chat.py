import json
from collections import deque

import pytest
from stand_in_service import CUT, numbered

from podflare_nb.client import ConflictError, StreamBrokenError
from podflare_nb.client._sync import conversation

TURN = [
    {"type": "turn-start", "data": {"turn_id": "t1", "message": "plot it", "model": "direct"}},
    {"type": "cell-start", "data": {"cell_id": "u", "cell_type": "markdown", "role": "user", "source": "plot it"}},
    {"type": "cell-end", "data": {"cell_id": "u", "status": "ok"}},
    {
        "type": "cell-start",
        "data": {"cell_id": "c", "cell_type": "code", "role": "tool", "source": "plot()", "language": "python"},
    },
    {
        "type": "cell-output",
        "data": {"cell_id": "c", "output": {"output_type": "stream", "name": "stdout", "text": "a\n"}},
    },
    {
        "type": "cell-output",
        "data": {
            "cell_id": "c",
            "output": {"output_type": "display_data", "data": {"text/plain": "fig"}, "metadata": {}},
        },
    },
    {"type": "cell-end", "data": {"cell_id": "c", "status": "ok", "execution_count": 2, "exit_code": 0}},
    {"type": "cell-start", "data": {"cell_id": "a", "cell_type": "markdown", "role": "assistant", "source": ""}},
    {"type": "text-delta", "data": {"cell_id": "a", "text": "Here "}},
    {"type": "text-delta", "data": {"cell_id": "a", "text": "it is."}},
    {"type": "cell-end", "data": {"cell_id": "a", "status": "ok"}},
    {"type": "usage", "data": {"input_tokens": 3, "output_tokens": 4, "requests": 1}},
    {"type": "turn-end", "data": {"turn_id": "t1", "status": "ok", "usage": {"requests": 1}}},
]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    pauses = []
    monkeypatch.setattr(conversation.time, "sleep", pauses.append)
    return pauses


def test_chat_gives_the_turn_as_cells_text_and_results(stand_in, sandbox):
    stand_in.chat_events = TURN
    pieces = []
    turn = sandbox.chat("plot it", "direct", max_steps=3, on_text=pieces.append)
    assert (turn.id, turn.status, turn.ok, turn.text) == ("t1", "ok", True, "Here it is.")
    assert [cell.role for cell in turn.cells] == ["user", "tool", "assistant"]
    assert (turn.cells[1].stdout, turn.cells[1].exit_code, turn.cells[1].language) == ("a\n", 0, "python")
    assert [result.text for result in turn.results] == ["fig"]
    assert turn.usage == {"requests": 1}
    assert pieces == ["Here ", "it is."]
    body = json.loads(stand_in.bodies("POST", "/chat")[0])
    assert body == {"message": "plot it", "model": "direct", "max_steps": 3}


def test_a_turn_that_ends_badly_is_a_result_with_its_sentence(stand_in, sandbox):
    error = {"type": "turn-error", "data": {"code": "model_failed", "message": "The model refused."}}
    end = {"type": "turn-end", "data": {"turn_id": "t1", "status": "error", "message": "The model refused."}}
    stand_in.chat_events = [TURN[0], error, end]
    turn = sandbox.chat("x")
    assert (turn.ok, turn.status, turn.error, turn.error_code) == (
        False,
        "error",
        "The model refused.",
        "model_failed",
    )


@pytest.mark.parametrize("cut_after", range(1, len(TURN)))
def test_a_lost_stream_is_taken_up_again_without_a_gap_or_a_repeat(stand_in, sandbox, cut_after):
    whole = list(numbered(TURN))
    stand_in.chat_events = [*TURN[:cut_after], CUT]
    stand_in.resumed_events = deque([[*whole[: cut_after + 1], CUT], whole])
    events = list(sandbox.chat_stream("plot it"))
    assert [event.seq for event in events] == list(range(len(TURN)))
    assert events[-1].type == "turn-end"
    assert len(stand_in.bodies("POST", "/chat")) == 1


def test_a_stream_that_ends_early_without_a_fault_is_taken_up_again_too(stand_in, sandbox):
    stand_in.chat_events = TURN[:2]
    stand_in.resumed_events = deque([list(numbered(TURN))])
    assert sandbox.chat("plot it").text == "Here it is."


def test_a_stream_that_stays_lost_is_given_up_with_what_is_known(stand_in, sandbox, no_pauses):
    stand_in.chat_events = [*TURN[:3], CUT]
    stand_in.resumed_events = deque([CUT] for _ in range(40))
    with pytest.raises(StreamBrokenError, match="It may still run") as caught:
        list(sandbox.chat_stream("plot it"))
    assert caught.value.last_seq == 2
    assert max(no_pauses) <= 5


def test_a_stream_lost_before_the_turn_had_a_name_is_not_sent_again(stand_in, sandbox):
    stand_in.chat_events = [CUT]
    with pytest.raises(StreamBrokenError):
        sandbox.chat("plot it")
    assert len(stand_in.bodies("POST", "/chat")) == 1


def test_on_approval_is_asked_before_code_runs(stand_in, sandbox):
    request = {"tool_call_id": "call-1", "source": "rm()", "language": "python"}
    stand_in.chat_events = [TURN[0], {"type": "approval-request", "data": request}, TURN[-1]]
    asked = []
    sandbox.chat("x", on_approval=lambda what: bool(asked.append(what["source"])))
    assert asked == ["rm()"]
    assert json.loads(stand_in.bodies("POST", "/chat/t1/approve")[0]) == {"tool_call_id": "call-1", "approved": False}
    assert json.loads(stand_in.bodies("POST", "/chat")[0])["approve"] == "ask"


def test_a_refused_turn_raises_the_servers_sentence(stand_in, sandbox):
    stand_in.refusals.append((409, "conflict", "A turn is running in this sandbox."))
    with pytest.raises(ConflictError, match="A turn is running"):
        sandbox.chat("x")


def test_turns_are_listed_and_cancelled(stand_in, sandbox):
    assert [(turn.id, turn.status, turn.cells) for turn in sandbox.turns()] == [("t1", "ok", [])]
    sandbox.cancel("t1")
    assert stand_in.requests[-1]["path"].endswith("/chat/t1/cancel")


def test_cleared_and_updated_outputs_end_as_the_notebook_shows_them(stand_in, sandbox):
    def output(**fields):
        return {"type": "cell-output", "data": {"cell_id": "c", "output": fields}}

    shown = {"data": {"text/plain": "old"}, "metadata": {}, "transient": {"display_id": "d"}}
    changed = {"data": {"text/plain": "new"}, "metadata": {}, "transient": {"display_id": "d"}}
    stand_in.chat_events = [
        TURN[0],
        TURN[3],
        output(output_type="stream", name="stdout", text="gone"),
        output(output_type="clear_output", wait=True),
        output(output_type="display_data", **shown),
        output(output_type="update_display_data", **changed),
        TURN[-1],
    ]
    (cell,) = sandbox.chat("x").cells
    assert cell.stdout == ""
    assert [result.text for result in cell.results] == ["new"]
