import asyncio
import importlib
from types import SimpleNamespace

import pytest

from podflare_nb.client import AsyncSandbox, GoneError, Sandbox

PLOT = "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()"


@pytest.fixture(scope="module")
def pyd():
    """The framework, loaded when the first test needs it; ``agent`` makes one whose model calls the tool in turn."""
    pydantic_ai = importlib.import_module("pydantic_ai")
    messages = importlib.import_module("pydantic_ai.messages")
    function = importlib.import_module("pydantic_ai.models.function")
    test_model = importlib.import_module("pydantic_ai.models.test").TestModel
    adapter = importlib.import_module("podflare_nb.integrations.pydantic_ai")

    def agent(toolset, *calls, name="analyst"):
        def answer(history, _):
            asked = sum(isinstance(message, messages.ModelResponse) for message in history)
            if asked >= len(calls):
                return messages.ModelResponse([messages.TextPart("done")])
            part = messages.ToolCallPart("run_code", calls[asked], tool_call_id=f"call_{asked}")
            return messages.ModelResponse([part])

        model = function.FunctionModel(answer, model_name="scripted-1")
        return pydantic_ai.Agent(model, toolsets=[toolset], name=name)

    return SimpleNamespace(
        agent=agent, toolset=adapter.podflare_toolset, Agent=pydantic_ai.Agent, TestModel=test_model, messages=messages
    )


async def told(agent):
    """Run to the end; the tool's results."""
    result = await agent.run("go")
    assert result.output == "done"
    parts = [part for message in result.all_messages() for part in message.parts]
    return [part for part in parts if part.part_kind == "tool-return"]


async def test_an_agent_runs_code_that_keeps_its_variables(pyd, async_sandbox):
    calls = ({"code": "x = 111"}, '{"code": "x * x"}', {"code": "echo hi", "language": "bash"})
    answers = await told(pyd.agent(pyd.toolset(async_sandbox), *calls))
    assert [answer.content for answer in answers] == ["(no output)", "12321", "hi"]
    assert [answer.outcome for answer in answers] == ["success"] * 3


async def test_the_frameworks_own_test_model_calls_the_tool(pyd, async_sandbox):
    model = pyd.TestModel()
    result = await pyd.Agent(model, toolsets=[pyd.toolset(async_sandbox)]).run("go")
    assert "run_code" in result.output
    [definition] = model.last_model_request_parameters.function_tools
    assert definition.parameters_json_schema["required"] == ["code"]


async def test_pictures_reach_the_model_beside_the_text(pyd, async_sandbox):
    [answer] = await told(pyd.agent(pyd.toolset(async_sandbox), {"code": PLOT}))
    _, picture = answer.content
    assert picture.media_type == "image/png"
    assert picture.data.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("{not json", "The arguments are not JSON."),
        ("[1]", "The arguments are an array, not an object."),
        ("", "The argument code is missing."),
        ({"code": 7}, "The argument code is a number, not a string."),
        ({"code": "1", "timeout": 9}, "There is no argument 'timeout'."),
        ({"code": "1", "language": "perl"}, "The argument language cannot be 'perl'."),
    ],
)
async def test_wrong_arguments_fail_the_call_with_the_right_way_however_often(pyd, async_sandbox, arguments, sentence):
    answers = await told(pyd.agent(pyd.toolset(async_sandbox), *[arguments] * 4))
    assert len(answers) == 4
    for answer in answers:
        assert answer.content.startswith(sentence)
        assert 'Call it with {"code": string' in answer.content
        assert answer.outcome == "failed"


async def test_failing_code_is_a_failed_result(pyd, async_sandbox):
    [answer] = await told(pyd.agent(pyd.toolset(async_sandbox), {"code": "1 / 0"}))
    assert answer.content.startswith("The code failed (exit code 1).")
    assert answer.outcome == "failed"


async def test_the_notebook_tells_call_agent_and_model(pyd, async_sandbox):
    toolset = pyd.toolset(async_sandbox)
    await told(pyd.agent(toolset, {"code": "'who asked'"}))
    await toolset.record("The analyst asked.")
    cells = (await async_sandbox.notebook())["cells"]
    by = {"".join(cell["source"]): cell["metadata"]["podflare_nb"] for cell in cells}
    asked = by["'who asked'"]
    assert (asked["tool_call_id"], asked["operator"]) == ("call_0", "analyst")
    assert asked["model"] == {"provider": "function", "id": "scripted-1"}
    assert by["The analyst asked."]["operator"] == "pydantic-ai"


async def test_a_sandbox_of_its_own_lives_for_one_run_or_for_the_agents_context(pyd, service):
    toolset = pyd.toolset(host=service.url, api_key=service.key)
    agent = pyd.agent(toolset, {"code": "kept = 7"})
    assert toolset.sandbox is None
    async with agent:
        await told(agent)
        sandbox_id = toolset.sandbox.id
        [answer] = await told(pyd.agent(toolset, {"code": "kept"}))
        assert answer.content == "7"
    assert toolset.sandbox is None
    with pytest.raises(GoneError):
        await asyncio.to_thread(Sandbox.connect, sandbox_id, host=service.url, api_key=service.key)
    [answer] = await told(pyd.agent(toolset, {"code": "'kept' in globals()"}))
    assert answer.content == "False"
    assert toolset.sandbox is None


async def test_a_sandbox_that_was_given_outlives_every_run(pyd, service):
    async with AsyncSandbox(host=service.url, api_key=service.key) as sandbox:
        toolset = pyd.toolset(sandbox)
        await told(pyd.agent(toolset, {"code": "kept = 7"}))
        [answer] = await told(pyd.agent(toolset, {"code": "kept"}))
        assert answer.content == "7"
        await sandbox.close()
        [answer] = await told(pyd.agent(toolset, {"code": "kept"}))
    assert "closed" in answer.content
    assert answer.outcome == "failed"


async def test_two_runs_at_once_share_one_sandbox(pyd, service):
    toolset = pyd.toolset(host=service.url, api_key=service.key)
    async with toolset:
        await told(pyd.agent(toolset, {"code": "total = 0"}))
        agents = [pyd.agent(toolset, *[{"code": "total += 1"}] * 3) for _ in range(2)]
        await asyncio.gather(*(agent.run("go") for agent in agents))
        [answer] = await told(pyd.agent(toolset, {"code": "total"}))
    assert answer.content == "6"
