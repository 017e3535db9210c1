"""The seed's Anthropic snippet, as it stands but for import and host, with the real package and a scripted provider.

Its indentation, which the page it comes from lost, is put back. The scripted model computes instead of downloading.
"""

import contextlib
import io

import pytest

from tests.provider_servers import calls, says

SEED = """
from anthropic import Anthropic
from podflare_nb import Sandbox
from podflare_nb.integrations.anthropic import handle_code_execution_tool_use
client = Anthropic()
with Sandbox() as sbx:
    messages = [
        {"role": "user",
         "content": "Download this CSV and summarize: https://ex.com/sales.csv"}
    ]
    while True:
        resp = client.messages.create(
            model="claude-opus-4-7",
            max_tokens=2048,
            tools=[{"type": "code_execution_20250825",
                    "name": "code_execution"}],
            messages=messages,
        )
        messages.append({"role": "assistant", "content": resp.content})
        if resp.stop_reason != "tool_use":
            break
        results = [
            handle_code_execution_tool_use(b, sbx)
            for b in resp.content
            if b.type == "tool_use" and b.name == "code_execution"
        ]
        messages.append({"role": "user", "content": results})
    print(resp.content[0].text)
"""


@pytest.mark.usefixtures("service_in_environment")
def test_the_seeds_loop_runs_with_only_the_import_changed(blocking_provider, monkeypatch):
    for name, value in blocking_provider.env("anthropic").items():
        monkeypatch.setenv(name, value)
    blocking_provider.will(
        calls("code_execution", say="I compute.", call_id="toolu_1", code="x = 6"),
        calls("code_execution", call_id="toolu_2", code="print(x * 7)"),
        says("It is ", "42."),
    )
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(SEED, {})
    assert printed.getvalue() == "It is 42.\n"
    [told] = blocking_provider.requests[-1]["messages"][-1]["content"]
    assert told == {
        "type": "tool_result",
        "tool_use_id": "toolu_2",
        "content": [{"type": "text", "text": "42"}],
        "is_error": False,
    }
