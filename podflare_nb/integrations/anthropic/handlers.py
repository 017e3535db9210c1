"""From a ``tool_use`` block to its ``tool_result``: the functions that a loop of one's own calls.

Each takes a block (the SDK's object, or a dictionary) and a sandbox, and gives a dictionary for the next message.
They raise nothing that a model or a sandbox can cause: what goes wrong is a result with ``is_error`` and a sentence.
Those whose names end in ``_async`` take an AsyncSandbox. ``by`` says who asks, for the notebook; the block's id is
added to it. ``timeout_seconds`` bounds the run of each block (None: no bound).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from podflare_nb.client import AsyncSandbox, Sandbox

from ..code_tool import DEFAULT_LIMIT, DEFAULT_SECONDS, Provenance, ToolOutcome
from ..steps import Steps, walk, walk_async
from ..tool_sandbox import provenance
from . import bash, code_execution, text_editor
from .blocks import read_tool_use, tool_result
from .running import Run

if TYPE_CHECKING:
    from anthropic.types import ToolResultBlockParam, ToolUnionParam

OPERATOR = "anthropic"
"""Who the notebook says worked, unless the caller names itself."""

Tool = Callable[[object, object, Run], Steps[ToolOutcome]]
"""Arguments, the sandbox and how to run: what a tool does."""

TOOLS: dict[str, Tool] = {
    code_execution.NAME: lambda arguments, _, run: code_execution.code_execution_steps(arguments, run),
    bash.NAME: bash.bash_steps,
    text_editor.NAME: lambda arguments, _, run: text_editor.text_editor_steps(arguments, run),
}


def tools() -> list[ToolUnionParam]:
    """Give the specifications of all three tools, for ``tools=[...]``."""
    return [code_execution.code_execution_tool(), bash.bash_tool(), text_editor.text_editor_tool()]


def handle_tool_use(
    block: object,
    sandbox: Sandbox,
    *,
    by: Provenance | None = None,
    timeout_seconds: float | None = DEFAULT_SECONDS,
) -> ToolResultBlockParam:
    """Answer a block of any of the tools, by its name. Another name is an error result that lists the tools."""
    return walk(answer_steps(block, sandbox, None, by, timeout_seconds), sandbox)


async def handle_tool_use_async(
    block: object,
    sandbox: AsyncSandbox,
    *,
    by: Provenance | None = None,
    timeout_seconds: float | None = DEFAULT_SECONDS,
) -> ToolResultBlockParam:
    """``handle_tool_use`` for an AsyncSandbox."""
    return await walk_async(answer_steps(block, sandbox, None, by, timeout_seconds), sandbox)


def handle_code_execution_tool_use(
    block: object,
    sandbox: Sandbox,
    *,
    by: Provenance | None = None,
    timeout_seconds: float | None = DEFAULT_SECONDS,
) -> ToolResultBlockParam:
    """Run the code of a block, ``{"code": "...", "language": "python" or "bash"}``, and answer it."""
    return walk(answer_steps(block, sandbox, code_execution.NAME, by, timeout_seconds), sandbox)


async def handle_code_execution_tool_use_async(
    block: object,
    sandbox: AsyncSandbox,
    *,
    by: Provenance | None = None,
    timeout_seconds: float | None = DEFAULT_SECONDS,
) -> ToolResultBlockParam:
    """``handle_code_execution_tool_use`` for an AsyncSandbox."""
    return await walk_async(answer_steps(block, sandbox, code_execution.NAME, by, timeout_seconds), sandbox)


def handle_bash_tool_use(
    block: object,
    sandbox: Sandbox,
    *,
    by: Provenance | None = None,
    timeout_seconds: float | None = DEFAULT_SECONDS,
) -> ToolResultBlockParam:
    """Run the command of a ``bash_20250124`` block in the sandbox's shell session, or restart it."""
    return walk(answer_steps(block, sandbox, bash.NAME, by, timeout_seconds), sandbox)


async def handle_bash_tool_use_async(
    block: object,
    sandbox: AsyncSandbox,
    *,
    by: Provenance | None = None,
    timeout_seconds: float | None = DEFAULT_SECONDS,
) -> ToolResultBlockParam:
    """``handle_bash_tool_use`` for an AsyncSandbox."""
    return await walk_async(answer_steps(block, sandbox, bash.NAME, by, timeout_seconds), sandbox)


def handle_text_editor_tool_use(
    block: object,
    sandbox: Sandbox,
    *,
    by: Provenance | None = None,
    timeout_seconds: float | None = DEFAULT_SECONDS,
) -> ToolResultBlockParam:
    """Carry out the command of a ``text_editor_20250728`` block on the sandbox's files."""
    return walk(answer_steps(block, sandbox, text_editor.NAME, by, timeout_seconds), sandbox)


async def handle_text_editor_tool_use_async(
    block: object,
    sandbox: AsyncSandbox,
    *,
    by: Provenance | None = None,
    timeout_seconds: float | None = DEFAULT_SECONDS,
) -> ToolResultBlockParam:
    """``handle_text_editor_tool_use`` for an AsyncSandbox."""
    return await walk_async(answer_steps(block, sandbox, text_editor.NAME, by, timeout_seconds), sandbox)


def answer_steps(
    block: object, sandbox: object, name: str | None, by: Provenance | None, timeout_seconds: float | None
) -> Steps[ToolResultBlockParam]:
    """Answer a block with the tool ``name``; None: the one that the block names."""
    use = read_tool_use(block)
    by = by or Provenance()
    run = Run(provenance(use.id, by.operator or OPERATOR, by.model, by.turn_id), timeout_seconds, DEFAULT_LIMIT)
    outcome: ToolOutcome = yield from tool_steps(name or use.name, use.arguments, sandbox, run)
    return tool_result(use, outcome)


def tool_steps(name: str, arguments: object, sandbox: object, run: Run) -> Steps[ToolOutcome]:
    """Do what the tool of that name does."""
    tool = TOOLS.get(name)
    if tool is None:
        return ToolOutcome(f"There is no tool {name[:100]!r} here. The tools are {', '.join(TOOLS)}.", is_error=True)
    return (yield from tool(arguments, sandbox, run))
