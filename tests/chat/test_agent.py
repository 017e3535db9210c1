import asyncio
import json

import pytest
from chat_harness import BOUND, everything, until

from podflare_nb.protocol.egress import INTERNET, OFF, Egress
from podflare_nb.sandboxes.execution import Notice
from tests.provider_servers import Call, ProviderServer, Reply, calls, runs, says

MODELS = {
    "anthropic": "anthropic:claude-sonnet-5-5",
    "openai-chat": "openai:some-model",
    "openai-responses": "openai-responses:gpt-6.1-sol",
}
PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 2, 3])\nplt.show()"


def texts(events):
    return "".join(event.data["text"] for event in events if event.type == "text-delta")


def ending(events):
    assert events[-1].type == "turn-end"
    return events[-1].data


@pytest.fixture(params=MODELS)
def model(request):
    return request.param


async def test_a_model_works_in_two_steps_and_sees_its_plot(make_chat, provider: ProviderServer, model):
    provider.will(
        runs("x = 41\nprint(x + 1)", say="Let me compute.", call_id="call_a"),
        runs(PLOT, call_id="call_b"),
        says("The answer ", "is ", "**42**."),
    )
    chat = make_chat(provider.env(model))
    events = await chat.send("What is 41 + 1? Plot it.", model=MODELS[model])
    assert ending(events) | {"turn_id": ""} == {
        "turn_id": "", "status": "ok", "usage": {"input_tokens": 300, "output_tokens": 60, "requests": 3},
    }  # fmt: skip
    assert [event.data["text"] for event in events if event.type == "text-delta"] == [
        "Let me compute.", "The answer ", "is ", "**42**.",
    ]  # fmt: skip
    assert await chat.sources() == [
        ("markdown", "What is 41 + 1? Plot it."),
        ("markdown", "Let me compute."),
        ("code", "x = 41\nprint(x + 1)"),
        ("code", PLOT),
        ("markdown", "The answer is **42**."),
    ]
    provenance = chat.sandbox.requests[0].provenance
    assert (provenance.tool_call_id, provenance.principal) == ("call_a", "ada")
    assert provenance.model.provider == MODELS[model].partition(":")[0]
    [second, third] = [json.dumps(request) for request in provider.requests[1:]]
    assert "42" in second
    png = next(e.data["output"]["data"]["image/png"] for e in events if "image/png" in str(e.data.get("output")))
    assert png.strip()[:200] in third


async def test_text_is_told_before_the_code_that_follows_it(make_chat, provider: ProviderServer, model):
    provider.will(runs("print('ran')", say="First this."), says("Done."))
    events = await make_chat(provider.env(model)).send("go", model=MODELS[model])
    told = [event.data.get("text") or event.data.get("source") for event in events]
    assert [text for text in told if text] == ["go", "First this.", "print('ran')", "Done."]
    assert [event.seq for event in events] == list(range(len(events)))


async def test_each_protocol_goes_to_its_own_address_with_the_key_of_the_environment(
    make_chat, provider: ProviderServer
):
    for model, name in MODELS.items():
        provider.will(says("hi"))
        await make_chat(provider.env(model)).send("hello", model=name)
    assert provider.paths == ["/v1/messages", "/v1/chat/completions", "/v1/responses"]
    assert {headers["Authorization"] for headers in provider.headers} == {"Bearer sk-test-1"}


async def test_the_model_is_told_of_earlier_turns(make_chat, provider: ProviderServer, model):
    chat = make_chat(provider.env(model))
    provider.will(runs("y = 7\nprint('seven', y)"), says("It is 7."), says("I said 7."))
    await chat.send("make y", model=MODELS[model])
    await chat.send("what did you say?", model=MODELS[model])
    told = json.dumps(provider.requests[-1])
    assert all(part in told for part in ("make y", "seven 7", "It is 7.", "what did you say?"))


async def test_turns_from_before_a_restart_and_of_the_direct_agent_are_told_from_the_notebook(
    make_chat, provider: ProviderServer, model
):
    await make_chat().send("secret = 'xyzzy'\nprint(secret)")
    provider.will(says("It was xyzzy."))
    restarted = make_chat(provider.env(model))
    events = await restarted.send("what was the secret?", model=MODELS[model])
    assert ending(events)["status"] == "ok"
    told = json.dumps(provider.requests[-1])
    assert "secret = 'xyzzy'" in told
    assert told.count("what was the secret?") == 1


async def test_a_message_after_a_cancelled_turn_works_and_tells_that_it_was_cancelled(
    make_chat, provider: ProviderServer, model
):
    chat = make_chat(provider.env(model))
    provider.will(runs("import time\nprint('on')\ntime.sleep(600)"), says("Fine."))
    turn = chat.start("wait long", model=MODELS[model])
    await until(turn, "cell-output")
    chat.service.cancel(chat.sandbox.id, turn.id, "ada")
    events = await everything(turn)
    assert ending(events)["status"] == "cancelled"
    assert [e.data["status"] for e in events if e.type == "cell-end"][-1] == "interrupted"
    assert chat.sandbox.interrupts == 1
    assert "Cancelled by ada" in (await chat.sources())[-1][1]
    assert ending(await chat.send("and now?", model=MODELS[model]))["status"] == "ok"
    assert "Cancelled by ada" in json.dumps(provider.requests[-1])


async def test_the_limit_of_steps_ends_the_turn_and_the_notebook_says_so(make_chat, provider: ProviderServer, model):
    provider.will(*[runs(f"print({n})", call_id=f"call_{n}") for n in range(5)])
    chat = make_chat(provider.env(model))
    events = await chat.send("count", model=MODELS[model], max_steps=2)
    assert ending(events)["status"] == "limit"
    assert ending(events)["limit"] == "steps"
    assert len(provider.requests) == 2
    assert "limit of 2 steps" in (await chat.sources())[-1][1]


async def test_the_limit_of_tokens_ends_the_turn(make_chat, provider: ProviderServer, model):
    provider.will(*[runs(f"print({n})", call_id=f"call_{n}", say="") for n in range(5)])
    chat = make_chat(provider.env(model), max_tokens=150)
    events = await chat.send("count", model=MODELS[model])
    assert (ending(events)["status"], ending(events)["limit"]) == ("limit", "tokens")


async def test_the_limit_of_seconds_ends_a_turn_whose_model_is_silent(make_chat, provider: ProviderServer, model):
    provider.will(Reply(hold=asyncio.Event()))
    chat = make_chat(provider.env(model))
    events = await chat.send("hello", model=MODELS[model], timeout_seconds=0.3)
    assert (ending(events)["status"], ending(events)["limit"]) == ("limit", "seconds")
    assert "0.3 seconds" in (await chat.sources())[-1][1]


async def test_the_limit_of_seconds_interrupts_the_code_that_runs(make_chat, provider: ProviderServer):
    chat = make_chat(provider.env("anthropic"))
    for seconds in (1.5, 5, 15, 45):  # one of them is long enough for the code to begin
        provider.will(runs("print('on', flush=True)\nimport time\ntime.sleep(600)"))
        events = await chat.send("hello", model=MODELS["anthropic"], timeout_seconds=seconds)
        assert ending(events)["limit"] == "seconds"
        if "cell-output" in [event.type for event in events]:
            break
    assert [e.data["status"] for e in events if e.type == "cell-end"][-1] == "interrupted"


REFUSALS = [
    (Reply(status=401, body={"error": {"message": "bad key sk-test-1"}}), "model_auth", "API_KEY"),
    (Reply(status=429, headers={"Retry-After": "7"}), "model_rate_limited", "in 7 seconds"),
    (Reply(status=529), "model_overloaded", "overloaded"),
    (Reply(status=500), "model_server_error", "error of its own"),
    (Reply(status=404), "model_not_found", "no model"),
    (Reply(["The answer is"], cut=True), "model_connection", "broke off"),
]


@pytest.mark.parametrize("case", REFUSALS, ids=[code for _, code, _ in REFUSALS])
async def test_an_error_of_the_provider_is_told_in_a_sentence_and_the_next_turn_works(
    make_chat, provider: ProviderServer, model, case
):
    refusal, code, sentence = case
    chat = make_chat(provider.env(model))
    await chat.send("kept = 5", model="direct")
    provider.will(refusal, runs("print('kept', kept)"), says("ok"))
    events = await chat.send("hello", model=MODELS[model])
    [error] = [event.data for event in events if event.type == "turn-error"]
    assert error["code"] == code
    assert sentence in error["message"]
    assert "sk-test-1" not in error["message"]
    assert ending(events)["status"] == "error"
    assert error["message"] in (await chat.sources())[-1][1]
    again = await chat.send("again", model=MODELS[model])
    assert ending(again)["status"] == "ok"
    assert any("kept 5" in str(event.data) for event in again)


async def test_a_malformed_stream_ends_the_turn_with_an_error(make_chat, provider: ProviderServer, model):
    chat = make_chat(provider.env(model))
    provider.will(Reply(["x"], garbage=True), says("fine"))
    events = await chat.send("hello", model=MODELS[model])
    assert ending(events)["status"] == "error"
    assert any(e.type == "turn-error" and e.data["code"] != "internal" for e in events), events[-2]
    assert ending(await chat.send("again", model=MODELS[model]))["status"] == "ok"


async def test_a_provider_that_cannot_be_reached_is_named_with_its_address(make_chat):
    chat = make_chat({"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"})
    events = await chat.send("hello", model="openai:local")
    assert events[-2].data["code"] == "model_connection"
    assert "http://127.0.0.1:9/v1" in events[-2].data["message"]


async def test_an_approved_run_happens_and_a_denied_one_is_told_to_the_model(
    make_chat, provider: ProviderServer, model
):
    chat = make_chat(provider.env(model))
    provider.will(runs("print('one')", call_id="c1"), runs("print('two')", call_id="c2"), says("ok"))
    turn = chat.start("go", model=MODELS[model], approve="ask")
    asked = []
    async with asyncio.timeout(BOUND):
        async for event in turn.events():
            if event.type == "approval-request":
                asked.append(event.data)
                chat.service.approve(
                    chat.sandbox.id, turn.id, event.data["tool_call_id"],
                    approved=len(asked) == 1, principal="grace",
                )  # fmt: skip
    assert [request["source"] for request in asked] == ["print('one')", "print('two')"]
    assert [request.code for request in chat.sandbox.requests] == ["print('one')"]
    assert chat.sandbox.requests[0].provenance.approved_by == "grace"
    assert "did not approve" in json.dumps(provider.requests[-1])


async def test_cancel_ends_a_turn_that_waits_for_an_approval(make_chat, provider: ProviderServer):
    chat = make_chat(provider.env("anthropic"))
    provider.will(runs("print('one')"))
    turn = chat.start("go", model=MODELS["anthropic"], approve="ask")
    await until(turn, "approval-request")
    chat.service.cancel(chat.sandbox.id, turn.id, "ada")
    assert (await turn.wait()).status == "cancelled"
    assert not chat.sandbox.requests


async def test_a_model_that_does_not_see_is_told_of_images_and_given_none(make_chat, provider: ProviderServer):
    chat = make_chat(provider.env("openai-chat") | {"PODFLARE_NB_MODEL_SEES_IMAGES": "0"})
    provider.will(runs(PLOT), says("ok"))
    events = await chat.send("plot", model="openai:some-model")
    assert ending(events)["status"] == "ok"
    told = json.dumps(provider.requests[-1])
    assert "base64" not in told
    assert "shown to the person, not to you: image/png" in told


async def test_long_output_is_cut_for_the_model_and_whole_in_the_notebook(make_chat, provider: ProviderServer, model):
    chat = make_chat(provider.env(model))
    provider.will(runs("for n in range(20_000): print('line', n)"), says("ok"))
    await chat.send("print much", model=MODELS[model])
    told = json.dumps(provider.requests[-1])
    assert "line 0" in told
    assert "line 19999" in told
    assert "line 10000" not in told
    assert "characters cut here" in told
    assert len(told) < 20_000
    assert "line 10000" in json.dumps(await chat.cells())


async def test_errors_reach_the_model_without_colours(make_chat, provider: ProviderServer, model):
    chat = make_chat(provider.env(model))
    provider.will(runs("1/0"), says("ok"))
    events = await chat.send("divide", model=MODELS[model])
    told = json.dumps(provider.requests[-1])
    assert "ZeroDivisionError" in told
    assert "\\u001b" not in told
    assert ending(events)["status"] == "ok"


async def test_files_are_written_as_a_cell_and_read_and_listed_beside_the_notebook(
    make_chat, provider: ProviderServer, model
):
    chat = make_chat(provider.env(model))
    provider.will(
        calls("write_file", path="data/it's.txt", text="EOF\nfünf\n", call_id="c1"),
        calls("read_file", path="data/it's.txt", call_id="c2"),
        calls("list_files", path="data", call_id="c3"),
        calls("read_file", path="absent.txt", call_id="c4"),
        calls("install_packages", packages=["polars"], call_id="c5"),
        says("ok"),
    )
    events = await chat.send("files", model=MODELS[model])
    assert ending(events)["status"] == "ok", events[-2]
    assert (chat.sandbox.files.root / "data/it's.txt").read_text() == "EOF\nfünf\n"
    told = [json.dumps(request, ensure_ascii=False) for request in provider.requests]
    assert "Wrote 10 bytes to data/it's.txt." in told[1]
    assert "fünf" in told[2]
    assert "it's.txt  10 bytes" in told[3]
    assert "there is no file absent.txt" in told[4]
    assert "no network" in told[5]
    assert [kind for kind, _ in await chat.sources()] == ["markdown", "code", "markdown"]


async def test_a_model_is_told_what_its_sandbox_may_reach(make_chat, provider: ProviderServer, model):
    chat = make_chat(provider.env(model))
    for egress in (OFF, INTERNET, Egress.from_json({"allow": ["files.example.org"]})):
        chat.sandbox.egress = egress
        provider.will(says("ok"))
        assert ending(await chat.send("hello", model=MODELS[model]))["status"] == "ok"
    off, internet, rules = [json.dumps(request) for request in provider.requests]
    assert "Nothing can be downloaded" in off
    assert "public internet can be reached" in internet
    assert "Only this can be reached: files.example.org." in rules


async def test_a_refused_connection_is_told_to_the_person_and_to_the_model_and_not_as_output(
    make_chat, provider: ProviderServer, model
):
    chat = make_chat(provider.env(model))
    chat.sandbox.refusals = [Notice("network_refused", "elsewhere.example.net:80 is not allowed.")]
    provider.will(runs("print('tried')"), says("ok"))
    events = await chat.send("go", model=MODELS[model])
    [notice] = [event.data for event in events if event.type == "notice"]
    assert (notice["code"], notice["message"]) == ("network_refused", "elsewhere.example.net:80 is not allowed.")
    assert notice["cell_id"] == next(event.data["cell_id"] for event in events if event.type == "cell-output")
    assert "elsewhere.example.net:80 is not allowed." in json.dumps(provider.requests[1])
    assert "elsewhere" not in json.dumps(await chat.cells())


async def test_two_calls_in_one_answer_run_one_after_the_other(make_chat, provider: ProviderServer, model):
    two = [Call("run_code", {"code": f"print('run', {n})"}, f"c{n}") for n in (1, 2)]
    provider.will(Reply(calls=two), says("ok"))
    chat = make_chat(provider.env(model))
    events = await chat.send("go", model=MODELS[model])
    order = [event.type for event in events if event.type.startswith("cell")][2:]
    assert order == ["cell-start", "cell-output", "cell-end"] * 2 + ["cell-start", "cell-end"]


async def test_a_call_with_wrong_arguments_is_told_to_the_model_and_the_turn_goes_on(
    make_chat, provider: ProviderServer, model
):
    provider.will(calls("run_code", wrong=1), runs("print(1)", call_id="c2"), says("ok"))
    chat = make_chat(provider.env(model))
    assert ending(await chat.send("go", model=MODELS[model]))["status"] == "ok"
    assert [request.code for request in chat.sandbox.requests] == ["print(1)"]


async def test_the_test_model_runs_a_cell_in_every_turn_without_any_key(make_chat):
    chat = make_chat()
    for _ in range(2):
        events = await chat.send("go", model="test")
        assert ending(events)["status"] == "ok"
        assert "test model" in texts(events)
    assert [request.code for request in chat.sandbox.requests] == ["print(6 * 7)"] * 2
