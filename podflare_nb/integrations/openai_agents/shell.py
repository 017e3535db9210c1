"""The SDK's shell capability, with each command's tool call, agent and model in the sandbox's notebook.

The SDK tells a session which command to run, but not for whom; the tool that it gives a model does know.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from agents.sandbox.capabilities import Shell

from .asking import asked_by
from .session import asking

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agents.sandbox.capabilities import ShellToolSet
    from agents.tool_context import ToolContext


def podflare_shell() -> Shell:
    """Give the capability to name instead of ``Shell()`` among a SandboxAgent's capabilities."""
    return Shell(configure_tools=_attribute)


def _attribute(tools: ShellToolSet) -> None:
    tool = tools.exec_command
    tool.on_invoke_tool = partial(_invoke, tool.on_invoke_tool)


async def _invoke(run: Callable[..., Awaitable[Any]], context: ToolContext[Any], arguments: str) -> Any:
    token = asking.set(asked_by(context))
    try:
        return await run(context, arguments)
    finally:
        asking.reset(token)
