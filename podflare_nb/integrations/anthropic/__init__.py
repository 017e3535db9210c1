"""A sandbox as the place where Claude's code runs: tools, handlers of ``tool_use`` blocks, and the loop around them.

For a loop of one's own: ``tools`` and ``handle_tool_use``, or one tool's specification and handler. For none:
``run_tool_loop``. For the SDK's: ``runner_tools``. Each has a twin ending in ``_async``. Stands on ``code_tool``;
needs the package ``anthropic`` only where its client is used.
"""

from __future__ import annotations

from ..code_tool import Provenance
from .bash import bash_tool
from .code_execution import code_execution_tool
from .handlers import (
    handle_bash_tool_use,
    handle_bash_tool_use_async,
    handle_code_execution_tool_use,
    handle_code_execution_tool_use_async,
    handle_text_editor_tool_use,
    handle_text_editor_tool_use_async,
    handle_tool_use,
    handle_tool_use_async,
    tools,
)
from .loop import LoopResult, run_tool_loop, run_tool_loop_async
from .runner_tools import runner_tools, runner_tools_async
from .text_editor import text_editor_tool

__all__ = [
    "LoopResult",
    "Provenance",
    "bash_tool",
    "code_execution_tool",
    "handle_bash_tool_use",
    "handle_bash_tool_use_async",
    "handle_code_execution_tool_use",
    "handle_code_execution_tool_use_async",
    "handle_text_editor_tool_use",
    "handle_text_editor_tool_use_async",
    "handle_tool_use",
    "handle_tool_use_async",
    "run_tool_loop",
    "run_tool_loop_async",
    "runner_tools",
    "runner_tools_async",
    "text_editor_tool",
    "tools",
]
