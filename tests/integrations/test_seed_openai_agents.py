"""The seed's snippet for the OpenAI Agents SDK, word for word but for the import. The environment has host and key."""

import ast
import contextlib
import inspect
import io

import pytest

from tests.provider_servers import runs, says

pytest_plugins = ["openai_sdk"]

SEED = """
from agents import Agent, Runner
from podflare_nb.integrations.openai_agents import podflare_code_interpreter
agent = Agent(
name="assistant",
instructions="Use the run_code tool to answer data questions.",
tools=[podflare_code_interpreter()],
)
result = await Runner.run(agent, "what is 111 * 111?")
print(result.final_output)
"""


@pytest.mark.usefixtures("service_in_environment")
async def test_the_seeds_openai_snippet_runs_with_only_the_import_changed(openai):
    openai.will(runs("111 * 111", language="python"), says("111 * 111 is 12321."))
    printed, names = io.StringIO(), {}
    with contextlib.redirect_stdout(printed):
        outcome = eval(compile(SEED, "seed", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
        assert inspect.iscoroutine(outcome)
        await outcome
    assert printed.getvalue() == "111 * 111 is 12321.\n"
    [output] = [one["output"] for one in openai.requests[1]["input"] if one.get("type") == "function_call_output"]
    assert output == "12321"
    await names["agent"].tools[0].close()
