"""The tool ``code_execution``: a client tool of that name, run in the sandbox's kernel.

The provider's own tool types of this name run on the provider's side and never ask a client; ``code_execution_tool``
is the specification that does.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Final

from ..code_tool import DESCRIPTION, INPUT_SCHEMA, ToolOutcome, code_call
from ..steps import Steps
from .running import Run, run_steps

if TYPE_CHECKING:
    from anthropic.types import ToolParam

NAME: Final = "code_execution"


def code_execution_tool() -> ToolParam:
    """Give the specification for ``tools=[...]``: a custom tool, which every model can use."""
    return {"name": NAME, "description": DESCRIPTION, "input_schema": copy.deepcopy(INPUT_SCHEMA)}


def code_execution_steps(arguments: object, run: Run) -> Steps[ToolOutcome]:
    """Run the code that the arguments name."""
    call = code_call(arguments)
    if isinstance(call, str):
        return ToolOutcome(call, is_error=True)
    return (yield from run_steps(call, run))
