"""The pages for the Agents SDK, LangChain, Gemini and pydantic-ai: each block as a reader runs it.

Providers are local servers that speak their protocols, found through the environment; for LangChain, whose packages for
providers are not here, its own fake.
"""

import asyncio
import importlib

import pytest
from docs_blocks import run_python
from gemini_server import calls as gemini_calls
from gemini_server import gemini_server
from gemini_server import says as gemini_says

from tests.provider_servers import calls, runs, says

pytest_plugins = ["openai_sdk"]
pytestmark = pytest.mark.usefixtures("service_in_environment", "own_directory")

PLOT = "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()"


@pytest.fixture
def own_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def outputs(server):
    """What the functions gave, in the last request."""
    return [item["output"] for item in server.requests[-1]["input"] if item.get("type") == "function_call_output"]


@pytest.mark.usefixtures("sdk")
def test_the_page_of_the_openai_agents_sdk_runs(blocking_provider, monkeypatch, capsys, own_directory):
    server = blocking_provider
    for name, value in server.env("openai").items():
        monkeypatch.setenv(name, value)
    server.will(
        closing(runs("111 * 111", language="python")), closing(says("It is 12321.")),
        closing(runs(PLOT, language="python")), closing(says("Look.")),
        closing(calls("exec_command", cmd="paste -sd+ numbers.txt | bc || python3 -c 'print(6)'")), closing(says("6.")),
    )  # fmt: skip
    names = run_python("integrations/openai-agents.md")
    assert capsys.readouterr().out == "It is 12321.\n6.\n"
    assert (own_directory / "analysis.ipynb").read_text().count("Look.") == 1
    assert "Output:\n6" in outputs(server)[0]
    asyncio.run(names["agent"].tools[0].close())


def closing(reply):
    """Each block has an event loop of its own, and the SDKs would keep connections for longer than that."""
    reply.headers["Connection"] = "close"
    return reply


def test_the_page_of_langchain_runs(capsys, own_directory):
    messages = importlib.import_module("langchain_core.messages")
    fakes = importlib.import_module("langchain_core.language_models.fake_chat_models")

    class Scripted(fakes.GenericFakeChatModel):
        def bind_tools(self, _tools, **_):
            return self

    def asks(code):
        return messages.AIMessage("", tool_calls=[{"name": "run_code", "args": {"code": code}, "id": "call_1"}])

    model = Scripted(messages=iter([asks("111 * 111"), "It is 12321.", asks(PLOT), "Look."]))
    run_python("integrations/langchain.md", {"__name__": "__main__", "model": model})
    assert capsys.readouterr().out == "It is 12321.\nsuccess ['text', 'image']\n"
    assert "It is 12321." in (own_directory / "analysis.ipynb").read_text()


def test_the_page_of_gemini_runs(monkeypatch, capsys):
    asked = gemini_calls({"code": "111 * 111"})
    with gemini_server() as server:
        monkeypatch.setenv("GEMINI_API_KEY", "key")
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", server.url)
        server.will(asked, gemini_says("It is 12321."), asked, gemini_says("12321 again."))
        names = run_python("integrations/gemini.md")
        names["client"].close()
        assert [answer["response"] for answer in server.answers()] == [{"result": "12321"}]
    assert capsys.readouterr().out == "It is 12321.\n12321 again.\n"


def test_the_page_of_pydantic_ai_runs(blocking_provider, monkeypatch, capsys, own_directory):
    server = blocking_provider
    for name, value in server.env("openai").items():
        monkeypatch.setenv(name, value)
    server.will(
        closing(runs("x = 111")), closing(says("Noted.")), closing(runs("x * x")), closing(says("It is 12321."))
    )
    run_python("integrations/pydantic-ai.md")
    assert capsys.readouterr().out == "It is 12321.\n"
    assert "12321" in str(server.requests[-1])
    assert "It is 12321." in (own_directory / "analysis.ipynb").read_text()
