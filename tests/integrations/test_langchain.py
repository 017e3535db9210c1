import asyncio
import importlib
from types import SimpleNamespace

import pytest

from podflare_nb.client import AsyncSandbox, GoneError, Sandbox
from podflare_nb.integrations.code_tool import ToolOutcome

PLOT = "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()"


@pytest.fixture(scope="module")
def lang():
    """The framework, loaded when the first test needs it; ``agent`` makes one whose model calls the tool in turn."""
    messages = importlib.import_module("langchain_core.messages")
    fakes = importlib.import_module("langchain_core.language_models.fake_chat_models")
    agents = importlib.import_module("langchain.agents")

    class Scripted(fakes.GenericFakeChatModel):
        """LangChain's own fake, which takes tools."""

        def bind_tools(self, tools, **_):
            SCHEMAS.append([tool.tool_call_schema for tool in tools])
            return self

    def agent(tool, *calls, name=None):
        said = {"model_name": "fake-1", "model_provider": "acme"}
        steps = [
            messages.AIMessage(
                "", tool_calls=[{"name": "run_code", "args": args, "id": f"call_{number}"}], response_metadata=said
            )
            for number, args in enumerate(calls)
        ]
        model = Scripted(messages=iter([*steps, messages.AIMessage("done")]))
        return agents.create_agent(model, tools=[tool], name=name)

    adapter = importlib.import_module("podflare_nb.integrations.langchain")
    return SimpleNamespace(agent=agent, tool=adapter.podflare_code_tool, ToolMessage=messages.ToolMessage)


SCHEMAS = []
"""What the models of these tests were bound to."""


def told(state):
    """The tool's messages; the run has ended well."""
    assert state["messages"][-1].content == "done"
    return [message for message in state["messages"] if message.type == "tool"]


def test_an_agent_runs_code_that_keeps_its_variables(lang, sandbox):
    agent = lang.agent(
        lang.tool(sandbox), {"code": "x = 111"}, {"code": "x * x"}, {"code": "echo hi", "language": "bash"}
    )
    answers = told(agent.invoke({"messages": "what is 111 * 111?"}))
    assert [answer.content for answer in answers] == ["(no output)", "12321", "hi"]
    assert [answer.status for answer in answers] == ["success"] * 3
    assert answers[1].artifact == ToolOutcome("12321")
    [[schema]] = SCHEMAS[-1:]
    assert schema["required"] == ["code"]


async def test_an_asynchronous_agent_does_the_same(lang, async_sandbox):
    agent = lang.agent(lang.tool(async_sandbox), {"code": "y = 6"}, {"code": "y * 7"})
    answers = told(await agent.ainvoke({"messages": "go"}))
    assert [answer.content for answer in answers] == ["(no output)", "42"]


def test_pictures_are_content_blocks(lang, sandbox):
    [answer] = told(lang.agent(lang.tool(sandbox), {"code": PLOT}).invoke({"messages": "plot"}))
    text, image = answer.content
    assert text["type"] == "text"
    assert (image["type"], image["mime_type"]) == ("image", "image/png")
    assert image["base64"].startswith("iVBOR")
    assert [block["type"] for block in answer.content_blocks] == ["text", "image"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "The argument code is missing."),
        ({"code": 7}, "The argument code is a number, not a string."),
        (
            {"code": "1", "config": {}, "run_manager": 1, "self": 2},
            "There is no argument 'config', 'run_manager', 'self'.",
        ),
        ({"code": "1", "language": "perl"}, "The argument language cannot be 'perl'."),
    ],
)
def test_wrong_arguments_are_a_result_that_says_how_to_call(lang, sandbox, arguments, sentence):
    [answer] = told(lang.agent(lang.tool(sandbox), arguments).invoke({"messages": "go"}))
    assert answer.content.startswith(sentence)
    assert 'Call it with {"code": string' in answer.content
    assert answer.status == "error"


def test_failing_code_is_a_result_with_the_status_of_an_error(lang, sandbox):
    [answer] = told(lang.agent(lang.tool(sandbox), {"code": "1 / 0"}).invoke({"messages": "go"}))
    assert answer.content.startswith("The code failed (exit code 1).")
    assert answer.status == "error"
    assert answer.artifact.is_error


def test_the_notebook_tells_call_agent_and_model(lang, sandbox):
    tool = lang.tool(sandbox)
    lang.agent(tool, {"code": "'who asked'"}, name="analyst").invoke({"messages": "go"})
    tool.invoke({"code": "'nobody'"})
    tool.record("The analyst asked.")
    cells = sandbox.notebook()["cells"]
    by = {"".join(cell["source"]): cell["metadata"]["podflare_nb"] for cell in cells}
    asked = by["'who asked'"]
    assert (asked["tool_call_id"], asked["operator"]) == ("call_0", "analyst")
    assert asked["model"] == {"provider": "acme", "id": "fake-1"}
    assert (by["'nobody'"]["operator"], by["'nobody'"].get("model")) == ("langchain", None)
    assert by["The analyst asked."]["role"] == "assistant"


async def test_a_direct_call_gives_the_content_and_takes_plain_text(lang, async_sandbox):
    tool = lang.tool(async_sandbox)
    assert await tool.ainvoke({"code": "6 * 7"}) == "42"
    assert await asyncio.to_thread(tool.invoke, "6 * 8") == "48"
    await tool.arecord("Said directly.", "user")
    assert "Said directly." in str((await async_sandbox.notebook())["cells"][-1]["source"])


def test_the_sandbox_is_made_at_the_first_call_and_ends_with_its_context(lang, service):
    with lang.tool(host=service.url, api_key=service.key) as tool:
        assert tool.sandbox is None
        told(lang.agent(tool, {"code": "1"}).invoke({"messages": "go"}))
        sandbox_id = tool.sandbox.id
    with pytest.raises(GoneError):
        Sandbox.connect(sandbox_id, host=service.url, api_key=service.key)
    [answer] = told(lang.agent(tool, {"code": "1"}).invoke({"messages": "go"}))
    assert "closed this tool's sandbox" in answer.content


async def test_a_sandbox_that_has_ended_is_a_result_with_its_reason(lang, service):
    async with AsyncSandbox(host=service.url, api_key=service.key) as sandbox, lang.tool(sandbox) as tool:
        await sandbox.close()
        [answer] = told(await lang.agent(tool, {"code": "1"}).ainvoke({"messages": "go"}))
    assert "closed" in answer.content
    assert answer.status == "error"


async def test_two_agents_at_once_share_one_sandbox(lang, async_sandbox):
    tool = lang.tool(async_sandbox)
    await async_sandbox.run_code("total = 0")
    agents = [lang.agent(tool, *[{"code": "total += 1"}] * 3) for _ in range(2)]
    await asyncio.gather(*(agent.ainvoke({"messages": "go"}) for agent in agents))
    assert (await async_sandbox.run_code("total")).results[0].text == "6"
