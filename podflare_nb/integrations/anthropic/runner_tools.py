"""The tools for the SDK's own loop, ``client.beta.messages.tool_runner(..., thread=False)``.

Without ``thread=False`` that loop leaves the history with the provider and sends only what is new. It does not tell
a tool the id of its call, so the notebook has the runs without it. This is the one module that loads the SDK.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from podflare_nb.client import AsyncSandbox, Sandbox

from ..code_tool import DEFAULT_LIMIT, DEFAULT_SECONDS, ToolOutcome
from ..steps import Steps, walk, walk_async
from ..tool_sandbox import provenance
from .blocks import ToolUse, field, tool_result
from .handlers import OPERATOR, tool_steps, tools
from .running import Run

if TYPE_CHECKING:
    from anthropic.lib.tools import BetaAsyncBuiltinFunctionTool, BetaBuiltinFunctionTool


def runner_tools(sandbox: Sandbox) -> list[BetaBuiltinFunctionTool]:
    """Give the tools for ``Anthropic``'s tool runner. Raises ImportError where the SDK is not installed."""
    sdk = _sdk()

    class SandboxTool(sdk.BetaBuiltinFunctionTool):  # type: ignore[name-defined,misc] # loaded when it is asked for
        def __init__(self, specification: Any) -> None:
            self._specification = specification

        def to_dict(self) -> Any:
            return self._specification

        def call(self, input: object) -> Any:  # noqa: A002 - the SDK's name
            return _content(sdk, walk(_steps(self.name, input, sandbox), sandbox))

    return [SandboxTool(one) for one in tools()]


def runner_tools_async(sandbox: AsyncSandbox) -> list[BetaAsyncBuiltinFunctionTool]:
    """``runner_tools`` for ``AsyncAnthropic`` and an AsyncSandbox."""
    sdk = _sdk()

    class SandboxTool(sdk.BetaAsyncBuiltinFunctionTool):  # type: ignore[name-defined,misc] # as above
        def __init__(self, specification: Any) -> None:
            self._specification = specification

        def to_dict(self) -> Any:
            return self._specification

        async def call(self, input: object) -> Any:  # noqa: A002 - the SDK's name
            return _content(sdk, await walk_async(_steps(self.name, input, sandbox), sandbox))

    return [SandboxTool(one) for one in tools()]


def _sdk() -> Any:
    try:
        return importlib.import_module("anthropic.lib.tools")
    except ModuleNotFoundError as error:
        raise ImportError("The tool runner is part of Anthropic's SDK: pip install 'anthropic>=2'.") from error


def _steps(name: str, arguments: object, sandbox: object) -> Steps[ToolOutcome]:
    return tool_steps(name, arguments, sandbox, Run(provenance(operator=OPERATOR), DEFAULT_SECONDS, DEFAULT_LIMIT))


def _content(sdk: Any, outcome: ToolOutcome) -> Any:
    """What the runner sends back; an error is raised in the form that it takes for one."""
    content = field(tool_result(ToolUse("", "", None), outcome), "content")
    if outcome.is_error:
        raise sdk.ToolError(content)
    return content
