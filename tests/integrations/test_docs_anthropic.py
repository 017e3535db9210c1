import contextlib
import io

import pytest
from docs_blocks import run_python

from tests.provider_servers import calls, says


@pytest.mark.usefixtures("service_in_environment")
def test_the_page_runs_as_it_stands(blocking_provider, monkeypatch):
    for name, value in blocking_provider.env("anthropic").items():
        monkeypatch.setenv(name, value)
    count = "sum(all(n % d for d in range(2, n)) for n in range(2, 1000))"
    create = {"command": "create", "path": "/workspace/hello.py", "file_text": "print('hello')\n"}
    blocking_provider.will(
        calls("code_execution", call_id="t1", code=count),
        says("There are 168."),
        calls("str_replace_based_edit_tool", call_id="t2", **create),
        calls("bash", call_id="t3", command="python3 hello.py"),
        says("It says hello."),
        calls("code_execution", call_id="t4", code="2**100"),
        says("1267650600228229401496703205376"),
        calls("code_execution", call_id="t5", code="import matplotlib.pyplot as plt; plt.plot([0, 1]); plt.show()"),
        says("There it is."),
    )
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        run_python("integrations/anthropic.md")
    assert printed.getvalue().split("\n")[:3] == ["There are 168.", "It says hello.", "1267650600228229401496703205376"]
    results = {
        block["tool_use_id"]: block["content"]
        for request in blocking_provider.requests
        for message in request["messages"]
        for block in message["content"]
        if isinstance(block, dict) and block["type"] == "tool_result"
    }
    texts = {use: content[0]["text"] for use, content in results.items()}
    assert texts | {"t5": ""} == {
        "t1": "168",
        "t2": "Wrote /workspace/hello.py.",
        "t3": "hello",
        "t4": str(2**100),
        "t5": "",
    }
    assert results["t5"][-1]["type"] == "image"
