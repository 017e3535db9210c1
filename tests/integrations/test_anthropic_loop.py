import asyncio
import threading

import pytest
from anthropic import Anthropic, AsyncAnthropic, InternalServerError

from podflare_nb.client import Sandbox
from podflare_nb.integrations.anthropic import (
    run_tool_loop,
    run_tool_loop_async,
    runner_tools,
    runner_tools_async,
    tools,
)
from tests.provider_servers import Call, Reply, calls, provider_in_thread, says

MODEL = "claude-test"


def code(source, call_id, **rest):
    return calls("code_execution", call_id=call_id, code=source, **rest)


def asked(text="Compute."):
    return [{"role": "user", "content": text}]


def told(request):
    """Each tool's answer in the last message of a request, by id."""
    return {
        part["tool_use_id"]: (part["content"][0]["text"], part["is_error"])
        for part in request["messages"][-1]["content"]
    }


def turn_of(sandbox, turn_id):
    cells = sandbox.notebook()["cells"]
    return [
        (ours["role"], "".join(cell["source"]), ours)
        for cell in cells
        if (ours := cell["metadata"]["podflare_nb"]).get("turn_id") == turn_id
    ]


@pytest.fixture
def client(blocking_provider):
    url = f"http://127.0.0.1:{blocking_provider.port}"
    with Anthropic(api_key="sk-test-1", base_url=url, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(provider):
    url = f"http://127.0.0.1:{provider.port}"
    async with AsyncAnthropic(api_key="sk-test-1", base_url=url, max_retries=0) as client:
        yield client


def test_the_loop_runs_until_the_model_has_answered_and_the_notebook_has_the_turn(client, blocking_provider, sandbox):
    blocking_provider.will(code("print(6 * 7)", "t1", say="I compute."), says("It is ", "42."))
    messages, seen = asked("What is 6 * 7?"), []
    result = run_tool_loop(client, sandbox, messages, model=MODEL, system="Be brief.", on_message=seen.append)
    assert (result.text, result.stop_reason, result.requests) == ("It is 42.", "end_turn", 2)
    assert [message.stop_reason for message in seen] == ["tool_use", "end_turn"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user", "assistant"]
    first, second = blocking_provider.requests
    assert [one["name"] for one in first["tools"]] == [one["name"] for one in tools()]
    assert first["system"] == "Be brief."
    assert told(second) == {"t1": ("42", False)}
    roles = [(role, source) for role, source, _ in turn_of(sandbox, result.turn_id)]
    assert roles == [
        ("user", "What is 6 * 7?"),
        ("assistant", "I compute."),
        ("tool", "print(6 * 7)"),
        ("assistant", "It is 42."),
    ]
    ran = turn_of(sandbox, result.turn_id)[2][2]
    assert (ran["tool_call_id"], ran["operator"], ran["model"]["id"]) == ("t1", "anthropic", MODEL)


async def test_the_asynchronous_loop_does_the_same(async_client, provider, async_sandbox):
    provider.will(calls("bash", call_id="t1", command="echo $((6 * 7))"), says("42"))
    seen = []

    async def note(message):
        seen.append(message.stop_reason)

    result = await run_tool_loop_async(async_client, async_sandbox, asked(), model=MODEL, on_message=note)
    assert (result.text, seen) == ("42", ["tool_use", "end_turn"])
    assert told(provider.requests[1]) == {"t1": ("42", False)}


def test_several_calls_of_one_answer_run_in_their_order_and_each_is_answered(client, blocking_provider, sandbox):
    blocking_provider.will(
        Reply(
            calls=[
                Call("code_execution", {"code": "n = 1; print(n)"}, "a"),
                Call("code_execution", {"code": "n += 1; print(n)"}, "b"),
                Call("teleport", {"to": "Mars"}, "c"),
                Call("code_execution", {"kode": "1"}, "d"),
                Call("code_execution", {"code": "n += 1; print(n)"}, "e"),
            ]
        ),
        says("Done."),
    )
    run_tool_loop(client, sandbox, asked(), model=MODEL)
    answers = told(blocking_provider.requests[1])
    assert list(answers) == ["a", "b", "c", "d", "e"]
    assert [answers[one] for one in "abe"] == [("1", False), ("2", False), ("3", False)]
    assert answers["c"][1]
    assert "There is no tool 'teleport'" in answers["c"][0]
    assert answers["d"][1]


def test_a_turn_that_the_provider_paused_is_sent_back_as_it_is(client, blocking_provider, sandbox):
    search = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}
    blocking_provider.will(Reply(["Searching."], blocks=[search], stop="pause_turn"), says("Found."))
    result = run_tool_loop(client, sandbox, asked(), model=MODEL)
    assert (result.text, result.requests) == ("Found.", 2)
    assert [message["role"] for message in blocking_provider.requests[1]["messages"]] == ["user", "assistant"]


@pytest.mark.parametrize("stop", ["max_tokens", "refusal", "model_context_window_exceeded", "something_new"])
def test_a_call_in_an_answer_that_was_stopped_is_not_run_but_answered(client, blocking_provider, sandbox, stop):
    blocking_provider.will(Reply(["I would"], [Call("code_execution", {"code": "ran = 1"}, "t1")], stop=stop))
    messages = asked()
    result = run_tool_loop(client, sandbox, messages, model=MODEL)
    assert result.stop_reason == stop
    [answer] = messages[-1]["content"]
    assert (answer["tool_use_id"], answer["is_error"]) == ("t1", True)
    assert sandbox.run_code("'ran' in globals()").results[0].text == "False"


def test_an_answer_without_content_leaves_the_history_sendable(client, blocking_provider, sandbox):
    blocking_provider.will(Reply(stop="refusal"))
    messages = asked()
    assert run_tool_loop(client, sandbox, messages, model=MODEL).text == ""
    assert [message["role"] for message in messages] == ["user"]


def test_the_loop_ends_at_its_limit_of_requests_with_every_call_answered(client, blocking_provider, sandbox):
    blocking_provider.will(*(code("1", f"t{n}") for n in range(3)))
    messages = asked()
    result = run_tool_loop(client, sandbox, messages, model=MODEL, max_turns=2)
    assert (result.stop_reason, result.requests) == ("max_turns", 2)
    assert messages[-1]["content"][0]["tool_use_id"] == "t1"
    assert "limit of requests" in messages[-1]["content"][0]["content"][0]["text"]
    with pytest.raises(ValueError, match="max_turns"):
        run_tool_loop(client, sandbox, messages, model=MODEL, max_turns=0)


def test_an_error_of_the_provider_is_raised_and_the_history_can_be_sent_again(client, blocking_provider, sandbox):
    body = {"type": "error", "error": {"type": "api_error", "message": "Broken."}}
    blocking_provider.will(code("1", "t1"), Reply(status=500, body=body), says("Back."))
    messages = asked()
    with pytest.raises(InternalServerError):
        run_tool_loop(client, sandbox, messages, model=MODEL)
    assert run_tool_loop(client, sandbox, messages, model=MODEL).text == "Back."


def test_a_sandbox_that_ends_between_calls_is_told_to_the_model_and_the_loop_goes_on(
    client, blocking_provider, service, caplog
):
    blocking_provider.will(code("1", "t1"), code("2", "t2"), says("It is closed."))
    with Sandbox(host=service.url, api_key=service.key) as mine:
        result = run_tool_loop(client, mine, asked(), model=MODEL, on_message=lambda _: mine.close())
    assert result.text == "It is closed."
    text, is_error = told(blocking_provider.requests[2])["t2"]
    assert is_error
    assert "closed" in text
    assert any("not recorded" in message for message in caplog.messages)


def test_two_loops_share_a_sandbox_each_with_its_own_turn(service, sandbox):
    def work(name, provider, results):
        url = f"http://127.0.0.1:{provider.port}"
        mine = Sandbox.connect(sandbox.id, host=service.url, api_key=service.key)
        with Anthropic(api_key="sk-test-1", base_url=url) as client:
            results[name] = run_tool_loop(client, mine, asked(), model=MODEL)

    results = {}
    with provider_in_thread() as first, provider_in_thread() as second:
        for name, provider in (("a", first), ("b", second)):
            provider.will(*(code(f"{name} = {n}; print('{name}', {name})", f"{name}{n}") for n in range(4)), says(name))
        threads = [threading.Thread(target=work, args=("a", first, results))]
        threads += [threading.Thread(target=work, args=("b", second, results))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        for name, provider in (("a", first), ("b", second)):
            for n, request in enumerate(provider.requests[1:]):
                assert told(request) == {f"{name}{n}": (f"{name} {n}", False)}
    for name, result in results.items():
        ids = [ours["tool_call_id"] for role, _, ours in turn_of(sandbox, result.turn_id) if role == "tool"]
        assert ids == [f"{name}{n}" for n in range(4)]


async def test_a_loop_that_is_cancelled_leaves_every_call_answered(async_client, provider, async_sandbox):
    both = [Call("code_execution", {"code": "1"}, "t1"), Call("code_execution", {"code": "2"}, "t2")]
    provider.will(Reply(calls=both))
    messages = asked()

    def stop(*_, **__):
        raise asyncio.CancelledError

    class Interrupted:
        """A sandbox in whose first run the task is cancelled."""

        record = async_sandbox.record
        run_code = staticmethod(stop)

    with pytest.raises(asyncio.CancelledError):
        await run_tool_loop_async(async_client, Interrupted(), messages, model=MODEL)
    assert [part["tool_use_id"] for part in messages[-1]["content"]] == ["t1", "t2"]
    assert all(part["is_error"] for part in messages[-1]["content"])


def test_the_sdks_own_runner_takes_the_tools(client, blocking_provider, sandbox):
    blocking_provider.will(code("print(6 * 7)", "t1"), calls("bash", call_id="t2", cmd="ls"), says("42"))
    runner = client.beta.messages.tool_runner(
        model=MODEL, max_tokens=1024, tools=runner_tools(sandbox), messages=asked(), thread=False
    )
    assert runner.until_done().content[0].text == "42"
    assert blocking_provider.requests[1]["messages"][-1]["content"][0]["content"] == [{"type": "text", "text": "42"}]
    last = blocking_provider.requests[2]["messages"]
    assert len(last) == 5
    assert last[-1]["content"][0]["is_error"]
    assert "There is no argument" in last[-1]["content"][0]["content"][0]["text"]


async def test_the_sdks_asynchronous_runner_takes_the_tools(async_client, provider, async_sandbox):
    provider.will(code("print(20 + 1)", "t1"), says("21"))
    runner = async_client.beta.messages.tool_runner(
        model=MODEL, max_tokens=1024, tools=runner_tools_async(async_sandbox), messages=asked(), thread=False
    )
    assert (await runner.until_done()).content[0].text == "21"
    assert provider.requests[1]["messages"][-1]["content"][0]["content"] == [{"type": "text", "text": "21"}]
