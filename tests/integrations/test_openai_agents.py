import asyncio
import gc
import importlib
import json

import pytest
from sandbox_ends import until_gone

from podflare_nb.client import AsyncSandbox, GoneError, Sandbox
from tests.provider_servers import runs, says

pytest_plugins = ["openai_sdk"]

PLOT = "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()"


async def test_an_agent_runs_code_that_keeps_its_variables(sdk, async_sandbox):
    tool = sdk.tool(async_sandbox)
    agent = sdk.agent(
        tool, {"code": "x = 111"}, {"code": "x * x", "language": "python"}, {"code": "echo hi", "language": "bash"}
    )
    result = await sdk.run(agent, "what is 111 * 111?")
    assert result.final_output == "done"
    assert sdk.told(agent) == ["(no output)", "12321", "hi"]


async def test_pictures_reach_the_model_beside_the_text(sdk, async_sandbox):
    agent = sdk.agent(sdk.tool(async_sandbox), {"code": PLOT})
    await sdk.run(agent, "plot")
    [[text, image]] = sdk.told(agent)
    assert text["type"] == "input_text"
    assert image["type"] == "input_image"
    assert image["image_url"].startswith("data:image/png;base64,iVBOR")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("{not json", "The arguments are not JSON."),
        ("[1]", "The arguments are an array, not an object."),
        ({}, "The argument code is missing."),
        ({"code": 7}, "The argument code is a number, not a string."),
        ({"code": "1", "timeout": 9}, "There is no argument 'timeout'."),
        ({"code": "1", "language": "perl"}, "The argument language cannot be 'perl'."),
    ],
)
async def test_wrong_arguments_are_a_result_that_says_how_to_call(sdk, async_sandbox, arguments, sentence):
    agent = sdk.agent(sdk.tool(async_sandbox), arguments)
    assert (await sdk.run(agent, "go")).final_output == "done"
    [said] = sdk.told(agent)
    assert said.startswith(sentence)
    assert 'Call it with {"code": string' in said


async def test_failing_code_is_a_result(sdk, async_sandbox):
    agent = sdk.agent(sdk.tool(async_sandbox), {"code": "1 / 0"})
    await sdk.run(agent, "go")
    [said] = sdk.told(agent)
    assert said.startswith("The code failed (exit code 1).")
    assert "ZeroDivisionError" in said


async def test_the_notebook_tells_call_agent_and_model(sdk, async_sandbox):
    tool = sdk.tool(async_sandbox)
    agent = sdk.agent(tool, {"code": "'who asked'"}, name="the asker")
    agent.model.model = "gpt-scripted"  # where the SDK's own models keep their name
    await sdk.run(agent, "go")
    await tool.record("Nobody asked.")
    cells = (await async_sandbox.notebook())["cells"]
    by = {"".join(cell["source"]): cell["metadata"]["podflare_nb"] for cell in cells}
    assert by["'who asked'"]["tool_call_id"] == "call_the asker0"
    assert by["'who asked'"]["operator"] == "the asker"
    assert by["'who asked'"]["model"] == {"provider": "openai", "id": "gpt-scripted"}
    assert by["Nobody asked."]["operator"] == "openai-agents"
    assert by["Nobody asked."]["role"] == "assistant"


async def test_a_models_provider_is_told_as_the_notebook_writes_it(sdk):
    tool_context = importlib.import_module("agents.tool_context")
    asking = importlib.import_module("podflare_nb.integrations.openai_agents.asking")

    def model_of(agent_model, run_model=None):
        agent = sdk.agents.Agent(name="a", model=agent_model)
        config = sdk.agents.RunConfig(model=run_model) if run_model else None
        context = tool_context.ToolContext(
            None, tool_name="run_code", tool_call_id="c", tool_arguments="{}", agent=agent, run_config=config
        )
        return asking.asked_by(context).model

    assert model_of("gpt-5") == "openai:gpt-5"
    assert model_of("litellm/anthropic/claude") == "litellm:anthropic/claude"
    assert model_of("gpt-5", run_model="gpt-6") == "openai:gpt-6"
    assert model_of(None).startswith("openai:gpt-")
    assert model_of(sdk.testing.ScriptedModel([])) is None


async def test_the_sandbox_is_made_at_the_first_call_and_ends_with_its_context(sdk, service):
    async with sdk.tool(host=service.url, api_key=service.key) as tool:
        assert tool.sandbox is None
        await sdk.run(sdk.agent(tool, {"code": "1"}), "go")
        sandbox_id = tool.sandbox.id
    with pytest.raises(GoneError):
        await asyncio.to_thread(Sandbox.connect, sandbox_id, host=service.url, api_key=service.key)
    agent = sdk.agent(tool, {"code": "1"})
    await sdk.run(agent, "go")
    assert "closed this tool's sandbox" in sdk.told(agent)[0]


async def test_a_sandbox_that_has_ended_is_a_result_with_its_reason(sdk, service):
    async with AsyncSandbox(host=service.url, api_key=service.key) as sandbox:
        await sandbox.close()
        agent = sdk.agent(sdk.tool(sandbox), {"code": "1"})
        assert (await sdk.run(agent, "go")).final_output == "done"
    assert "closed" in sdk.told(agent)[0]


async def test_two_runs_at_once_share_one_sandbox(sdk, async_sandbox):
    tool = sdk.tool(async_sandbox)
    await async_sandbox.run_code("total = 0")
    agents = [sdk.agent(tool, *[{"code": "total += 1"}] * 3, name=f"agent{number}") for number in range(2)]
    await asyncio.gather(*(sdk.run(agent, "go") for agent in agents))
    assert (await async_sandbox.run_code("total")).results[0].text == "6"


def test_one_tool_serves_runs_of_several_event_loops(sdk, service):
    tool = sdk.tool(host=service.url, api_key=service.key)
    asyncio.run(sdk.run(sdk.agent(tool, {"code": "kept = 7"}), "go"))
    agent = sdk.agent(tool, {"code": "kept"})
    asyncio.run(sdk.run(agent, "go"))
    assert sdk.told(agent) == ["7"]
    asyncio.run(tool.close())
    assert tool.sandbox is None


async def test_a_tool_and_its_agent_leave_nothing_when_they_are_forgotten(sdk, service):
    agent = sdk.agent(sdk.tool(host=service.url, api_key=service.key), {"code": "1"})
    await sdk.run(agent, "go")
    sandbox_id = agent.tools[0].sandbox.id
    del agent
    gc.collect()
    await until_gone(sandbox_id, service)


async def test_the_real_client_sends_the_tool_and_its_results(sdk, async_sandbox, openai):
    openai.will(runs("6 * 7", language="python"), runs(PLOT, call_id="call_2"), says("It is 42."))
    tool = sdk.tool(async_sandbox, name="run_code")
    result = await sdk.run(sdk.agents.Agent(name="analyst", model="gpt-test", tools=[tool]), "what is 6 * 7?")
    assert result.final_output == "It is 42."
    [sent] = openai.requests[0]["tools"]
    assert (sent["type"], sent["name"], sent["strict"]) == ("function", "run_code", True)
    assert sent["parameters"]["required"] == ["code", "language"]
    outputs = [item["output"] for item in openai.requests[-1]["input"] if item.get("type") == "function_call_output"]
    assert outputs[0] == "42"
    assert [part["type"] for part in outputs[1]] == ["input_text", "input_image"]
    assert "6 * 7" in json.dumps((await async_sandbox.notebook())["cells"])


async def test_models_of_chat_completions_are_told_of_pictures_that_the_sdk_drops(sdk, async_sandbox, openai):
    openai.will(runs(PLOT, language="python"), says("A line."))
    client = sdk.module("openai").AsyncOpenAI()
    model = sdk.agents.OpenAIChatCompletionsModel(model="gpt-test", openai_client=client)
    tool = sdk.tool(async_sandbox, images=False)
    result = await sdk.run(sdk.agents.Agent(name="analyst", model=model, tools=[tool]), "plot")
    await client.close()
    assert result.final_output == "A line."
    [answer] = [message for message in openai.requests[-1]["messages"] if message["role"] == "tool"]
    assert answer["content"].endswith("[shown in the notebook, not to you: image/png]")
