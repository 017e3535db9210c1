import asyncio
import json
import sys

import pytest
from chat_harness import BOUND, everything, until

from podflare_nb.chat.limits import TurnLimits, TurnRequest
from podflare_nb.chat.service import ChatService
from podflare_nb.errors import (
    ConflictError,
    GoneError,
    InvalidArgumentError,
    NotFoundError,
    TooLargeError,
)
from podflare_nb.sandboxes.execution import ExecutionRequest
from tests.provider_servers import ProviderServer, Reply, says

LONG = "import time\nprint('begun', flush=True)\ntime.sleep(600)"
FOREIGN = "sbx_" + "f" * 32


async def test_a_turn_goes_on_when_nobody_follows_it(chat):
    turn = chat.start("print('a')\nprint('b')")
    async with asyncio.timeout(BOUND):
        async for event in turn.events():
            if event.type == "turn-start":
                break
        ending = await turn.wait()
    assert ending.status == "ok"
    assert chat.sandbox.interrupts == 0


async def test_readers_that_come_back_with_their_seq_miss_nothing_and_read_nothing_twice(chat):
    turn = chat.start("for n in range(30):\n    print(n, flush=True)\n    display(n)")
    read: list[int] = []
    async with asyncio.timeout(BOUND):
        while not read or not turn.log.closed or read[-1] < turn.log.last_seq:
            after = read[-1] if read else -1
            async for event in turn.events(after):
                read.append(event.seq)
                if len(read) % 7 == 0:
                    break  # the connection is lost
    whole = await everything(turn)
    assert read == [event.seq for event in whole] == list(range(len(whole)))
    assert whole[-1].type == "turn-end"


async def test_the_sandbox_is_told_of_the_end_of_each_turn_so_that_it_can_keep_the_state(chat):
    first, second = chat.start("print(1)"), None
    await first.wait()
    second = chat.start("1/0")
    await second.wait()
    assert chat.sandbox.ended_turns == [first.id, second.id]


async def test_two_readers_read_the_same(chat):
    turn = chat.start("print(1)")
    first, second = await asyncio.gather(everything(turn), everything(turn))
    assert first == second


async def test_a_second_turn_is_refused_while_one_runs_and_names_it(chat):
    turn = chat.start(LONG)
    with pytest.raises(ConflictError) as refused:
        chat.start("print(1)")
    assert refused.value.details["turn_id"] == turn.id
    chat.service.cancel(chat.sandbox.id, turn.id, "ada")
    await turn.wait()
    assert (await chat.send("print(1)"))[-1].data["status"] == "ok"


async def test_cancel_in_the_middle_of_a_cell_interrupts_it_and_keeps_its_outputs(chat):
    turn = chat.start(LONG)
    await until(turn, "cell-output")
    chat.service.cancel(chat.sandbox.id, turn.id, "grace")
    chat.service.cancel(chat.sandbox.id, turn.id, "grace")
    events = await everything(turn)
    assert events[-1].data["status"] == "cancelled"
    assert [e.data["status"] for e in events if e.type == "cell-end"][-1] == "interrupted"
    cells = await chat.cells()
    assert "begun" in json.dumps(cells[1]["outputs"])
    assert "Cancelled by grace" in "".join(cells[-1]["source"])
    chat.service.cancel(chat.sandbox.id, turn.id, "grace")


async def test_a_turn_that_is_cancelled_before_its_first_step_has_an_end(chat):
    turn = chat.start("print('never')")
    chat.service.cancel(chat.sandbox.id, turn.id, "ada")
    events = await everything(turn)
    assert [event.type for event in events] == ["turn-start", "cell-start", "cell-end", "turn-end"]
    assert events[-1].data["status"] == "cancelled"
    assert not chat.sandbox.requests


async def test_turns_are_listed_with_what_became_of_them_also_after_a_restart(make_chat, chat):
    await chat.send("print(1)")
    await chat.send("1/0")
    listed = await chat.service.turns(chat.sandbox.id, chat.transcript)
    assert [turn["status"] for turn in listed] == ["ok", "error"]
    assert [turn["message"] for turn in listed] == ["print(1)", "1/0"]
    assert {turn["model"] for turn in listed} == {"direct"}
    restarted = await make_chat().service.turns(chat.sandbox.id, chat.transcript)
    assert [turn["turn_id"] for turn in restarted] == [turn["turn_id"] for turn in listed]
    assert [turn["status"] for turn in restarted] == ["ok", "error"]


async def test_a_turn_of_another_sandbox_is_not_found(chat):
    turn = chat.start("print(1)")
    for call in (
        lambda: chat.service.turn(FOREIGN, turn.id),
        lambda: chat.service.cancel(FOREIGN, turn.id, "eve"),
        lambda: chat.service.approve(FOREIGN, turn.id, "call", approved=True, principal="eve"),
        lambda: chat.service.turn(chat.sandbox.id, "turn_unknown"),
        lambda: chat.service.approve(chat.sandbox.id, turn.id, "call", approved=True, principal="ada"),
    ):
        with pytest.raises(NotFoundError):
            call()
    assert (await turn.wait()).status == "ok"


async def test_closing_the_service_ends_its_turns_with_their_ends_recorded(chat):
    turn = chat.start(LONG)
    await until(turn, "cell-output")
    await chat.service.aclose()
    assert turn.status == "cancelled"
    assert (await chat.transcript.turns())[-1].status == "cancelled"
    with pytest.raises(GoneError):
        chat.start("print(1)")
    await chat.service.aclose()


async def test_forgetting_a_sandbox_ends_its_turn_and_lets_go_of_it(chat):
    turn = chat.start(LONG)
    await until(turn, "cell-output")
    await chat.service.forget(chat.sandbox.id)
    assert turn.status == "cancelled"
    with pytest.raises(NotFoundError):
        chat.service.turn(chat.sandbox.id, turn.id)
    await chat.service.forget(chat.sandbox.id)


async def test_an_error_of_the_sandbox_ends_the_turn_with_its_sentence(chat, monkeypatch):
    async def gone(_: ExecutionRequest):
        raise GoneError("the sandbox was idle for 10 minutes", reason="idle_timeout")

    monkeypatch.setattr(chat.sandbox, "execute", gone)
    events = await chat.send("print(1)")
    assert events[-2].data == {"code": "gone", "message": "the sandbox was idle for 10 minutes"}


async def test_an_unforeseen_error_ends_the_turn_without_telling_its_inside(chat, monkeypatch, caplog):
    async def broken(_: ExecutionRequest):
        raise ValueError("an inner secret")

    monkeypatch.setattr(chat.sandbox, "execute", broken)
    events = await chat.send("print(1)")
    assert events[-2].data["code"] == "internal"
    assert "secret" not in events[-2].data["message"]
    assert "an inner secret" in caplog.text
    assert events[-1].data["status"] == "error"


@pytest.mark.parametrize(
    ("request_", "error", "named"),
    [
        (TurnRequest("  "), InvalidArgumentError, "empty"),
        (TurnRequest("a\0b"), InvalidArgumentError, "NUL"),
        (TurnRequest("x" * 2_000_000), TooLargeError, "1048576"),
        (TurnRequest("hi", max_steps=0), InvalidArgumentError, "max_steps"),
        (TurnRequest("hi", max_steps=10**9), InvalidArgumentError, "200"),
        (TurnRequest("hi", max_tokens=0), InvalidArgumentError, "max_tokens"),
        (TurnRequest("hi", timeout_seconds=-1), InvalidArgumentError, "timeout_seconds"),
        (TurnRequest("hi", timeout_seconds=float("nan")), InvalidArgumentError, "timeout_seconds"),
        (TurnRequest("hi", approve="maybe"), InvalidArgumentError, "approve"),
        (TurnRequest("hi", model="anthropic:claude-sonnet-5-5"), InvalidArgumentError, "ANTHROPIC_API_KEY"),
        (TurnRequest("hi", model="nonsense:x"), InvalidArgumentError, "provider:name"),
    ],
)
async def test_a_wrong_request_is_refused_with_what_to_do(chat, request_, error, named):
    with pytest.raises(error, match=named):
        chat.service.start(chat.sandbox, chat.transcript, request_, "ada")
    assert await chat.service.turns(chat.sandbox.id, chat.transcript) == []


async def test_the_default_model_is_the_one_whose_key_is_set(make_chat, provider: ProviderServer):
    chat = make_chat(provider.env("anthropic"))
    provider.will(says("hello"))
    events = await chat.send("hello")
    assert events[0].data["model"] == "anthropic:claude-sonnet-5-5"
    assert ChatService(env={}).default_model == "direct"


async def test_a_provider_that_is_silent_for_too_long_is_an_error_of_the_provider(make_chat, provider: ProviderServer):
    provider.will(Reply(hold=asyncio.Event()))
    chat = make_chat(provider.env("anthropic"), provider_timeout_seconds=0.2)
    events = await chat.send("hello")
    assert events[-2].data["code"] == "model_timeout"


async def test_a_refusal_for_load_is_repeated_as_often_as_is_set(make_chat, provider: ProviderServer):
    provider.will(Reply(status=529, headers={"Retry-After-Ms": "1"}), says("here I am"))
    chat = make_chat(provider.env("anthropic"), provider_retries=1)
    assert (await chat.send("hello"))[-1].data["status"] == "ok"
    assert len(provider.requests) == 2


async def test_a_service_without_models_never_imports_their_library():
    code = (
        "import sys, podflare_nb.chat.service, podflare_nb.chat.dialects\n"
        "podflare_nb.chat.service.ChatService(env={}).available_models()\n"
        "sys.exit('pydantic_ai' in sys.modules)"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await process.wait() == 0


def test_the_limits_are_those_of_the_documents():
    assert TurnLimits().max_steps == 20
    assert TurnLimits().result_characters == 8_000
