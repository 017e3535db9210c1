import asyncio
import base64
import importlib
from types import SimpleNamespace

import pytest
from gemini_server import MODEL, calls, gemini_server, says

from podflare_nb.client import AsyncSandbox, GoneError, Sandbox

PLOT = "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()"


@pytest.fixture(scope="module")
def gem():
    """The framework, loaded when the first test needs it."""
    genai = importlib.import_module("google.genai")
    types = importlib.import_module("google.genai.types")
    adapter = importlib.import_module("podflare_nb.integrations.gemini")
    return SimpleNamespace(genai=genai, types=types, tool=adapter.podflare_code_tool)


@pytest.fixture
def tool(gem, sandbox):
    return gem.tool(sandbox)


@pytest.fixture
def server():
    with gemini_server() as server:
        yield server


@pytest.fixture
def client(gem, server):
    """The real client, as it talks to the local server."""
    options = gem.types.HttpOptions(base_url=server.url)
    with gem.genai.Client(api_key="key", vertexai=False, http_options=options) as client:
        yield client


@pytest.fixture
def ask(gem, client):
    """The loop that a program writes around the tool: until the model asks for nothing more."""

    def loop(tool):
        config = gem.types.GenerateContentConfig(tools=[tool.tool])
        contents = [gem.types.Content(role="user", parts=[gem.types.Part(text="go")])]
        response = client.models.generate_content(model=MODEL, contents=contents, config=config)
        while parts := tool.answer(response):
            contents += [response.candidates[0].content, gem.types.Content(role="user", parts=parts)]
            response = client.models.generate_content(model=MODEL, contents=contents, config=config)
        return response.text

    return loop


def test_a_loop_runs_code_that_keeps_its_variables(gem, ask, server, sandbox):
    server.will(
        calls({"code": "x = 111"}, {"code": "x * x"}), calls({"code": "echo hi", "language": "bash"}), says("done")
    )
    assert ask(gem.tool(sandbox)) == "done"
    assert [answer["response"] for answer in server.answers()] == [
        {"output": "(no output)"}, {"output": "12321"}, {"output": "hi"},
    ]  # fmt: skip
    assert [answer["id"] for answer in server.answers()] == ["call_0", "call_1", "call_0"]
    [[declared]] = [tool["functionDeclarations"] for tool in server.requests[0]["tools"]]
    assert declared["name"] == "run_code"
    assert declared["parameters_json_schema"]["required"] == ["code"]


async def test_an_asynchronous_loop_does_the_same(gem, client, server, async_sandbox):
    server.will(calls({"code": "6 * 7"}), says("42"))
    tool = gem.tool(async_sandbox)
    config = gem.types.GenerateContentConfig(tools=[tool.tool])
    async with client.aio as asynchronous:
        response = await asynchronous.models.generate_content(model=MODEL, contents="go", config=config)
        [part] = await tool.aanswer(response)
        assert part.function_response.response == {"output": "42"}
        last = await asynchronous.models.generate_content(model=MODEL, contents=[part], config=config)
        assert await tool.aanswer(last) == []


def test_pictures_are_parts_of_the_answer(gem, ask, server, sandbox):
    server.will(calls({"code": PLOT}), says("done"))
    ask(gem.tool(sandbox))
    [answer] = server.answers()
    [picture] = answer["parts"]
    assert picture["inline_data"]["mime_type"] == "image/png"
    assert base64.b64decode(picture["inline_data"]["data"]).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (None, "The argument code is missing."),
        ({}, "The argument code is missing."),
        ({"code": 7}, "The argument code is a number, not a string."),
        ({"code": "1", "timeout": 9}, "There is no argument 'timeout'."),
        ({"code": "1", "language": "perl"}, "The argument language cannot be 'perl'."),
    ],
)
def test_wrong_arguments_are_an_error_that_says_how_to_call(ask, server, tool, arguments, sentence):
    server.will(calls(arguments), says("done"))
    assert ask(tool) == "done"
    [answer] = server.answers()
    assert answer["response"]["error"].startswith(sentence)
    assert 'Call it with {"code": string' in answer["response"]["error"]


def test_failing_code_is_an_error(gem, ask, server, sandbox):
    server.will(calls({"code": "1 / 0"}), says("done"))
    ask(gem.tool(sandbox))
    assert server.answers()[0]["response"]["error"].startswith("The code failed (exit code 1).")


def test_calls_of_other_functions_are_left_to_the_program(gem, sandbox):
    tool = gem.tool(sandbox)
    other = gem.types.Part(function_call=gem.types.FunctionCall(name="weather", args={}))
    content = gem.types.Content(role="model", parts=[gem.types.Part(text="hm"), other])
    response = gem.types.GenerateContentResponse(candidates=[gem.types.Candidate(content=content)])
    assert tool.answer(response) == []
    with pytest.raises(TypeError, match="no function call"):
        tool.handle(gem.types.Part(text="hm"))


def test_the_notebook_tells_call_and_model(gem, ask, server, sandbox):
    tool = gem.tool(sandbox)
    server.will(calls({"code": "'who asked'"}), says("done"))
    tool.record(ask(tool))
    cells = sandbox.notebook()["cells"]
    by = {"".join(cell["source"]): cell["metadata"]["podflare_nb"] for cell in cells}
    asked = by["'who asked'"]
    assert (asked["tool_call_id"], asked["operator"]) == ("call_0", "google-genai")
    assert asked["model"] == {"provider": "google", "id": MODEL}
    assert by["done"]["role"] == "assistant"


def test_the_sdk_calls_the_function_by_itself(gem, client, server, sandbox):
    server.will(calls({"code": "z = 5"}), calls({"code": PLOT}), calls({"code": 7}), calls({}), says("done"))
    tool = gem.tool(sandbox)
    chat = client.chats.create(model=MODEL, config=gem.types.GenerateContentConfig(tools=[tool.function]))
    assert chat.send_message("go").text == "done"
    assert sandbox.run_code("z").results[0].text == "5"
    first, plot, wrong, missing = [answer["response"] for answer in server.answers()]
    assert first == {"result": "(no output)"}
    assert plot["result"].endswith("[shown in the notebook, not to you: image/png]")
    assert "error" in wrong
    assert "error" in missing
    [[declared]] = [tool["functionDeclarations"] for tool in server.requests[0]["tools"]]
    assert declared["name"] == "run_code"
    assert "Jupyter" in declared["description"]


async def test_the_sdk_awaits_the_function_by_itself(gem, client, server, async_sandbox):
    server.will(calls({"code": "'bash' * 2", "language": "python"}), says("done"))
    tool = gem.tool(async_sandbox)
    config = gem.types.GenerateContentConfig(tools=[tool.async_function])
    async with client.aio as asynchronous:
        chat = asynchronous.chats.create(model=MODEL, config=config)
        assert (await chat.send_message("go")).text == "done"
    assert server.answers()[0]["response"] == {"result": "'bashbash'"}


def test_the_sandbox_is_made_at_the_first_call_and_ends_with_its_context(gem, ask, server, service):
    with gem.tool(host=service.url, api_key=service.key) as tool:
        assert tool.sandbox is None
        server.will(calls({"code": "1"}), says("done"))
        ask(tool)
        sandbox_id = tool.sandbox.id
    with pytest.raises(GoneError):
        Sandbox.connect(sandbox_id, host=service.url, api_key=service.key)
    server.will(calls({"code": "1"}), says("done"))
    ask(tool)
    assert "closed this tool's sandbox" in server.answers()[0]["response"]["error"]


async def test_a_sandbox_that_has_ended_is_an_error_with_its_reason(gem, service):
    async with AsyncSandbox(host=service.url, api_key=service.key) as sandbox, gem.tool(sandbox) as tool:
        await sandbox.close()
        part = await tool.ahandle(gem.types.FunctionCall(name="run_code", args={"code": "1"}))
    assert "closed" in part.function_response.response["error"]


async def test_two_loops_at_once_share_one_sandbox(gem, async_sandbox):
    tool = gem.tool(async_sandbox)
    await async_sandbox.run_code("total = 0")
    call = gem.types.FunctionCall(name="run_code", args={"code": "total += 1"})
    await asyncio.gather(*(tool.ahandle(call) for _ in range(6)))
    assert (await async_sandbox.run_code("total")).results[0].text == "6"
