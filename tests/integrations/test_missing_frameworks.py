import importlib
import sys

import pytest


@pytest.mark.parametrize(
    ("adapter", "framework", "package"),
    [
        ("openai_agents", "agents", "openai-agents"),
        ("langchain", "langchain.tools", "langchain"),
        ("gemini", "google.genai", "google-genai"),
        ("pydantic_ai", "pydantic_ai", "pydantic-ai-slim"),
    ],
)
def test_a_framework_that_is_missing_is_named_with_what_to_install(monkeypatch, adapter, framework, package):
    name = f"podflare_nb.integrations.{adapter}"
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, framework, None)
    with pytest.raises(ImportError, match=f"{name} needs .*: pip install '{package}>="):
        importlib.import_module(name)
