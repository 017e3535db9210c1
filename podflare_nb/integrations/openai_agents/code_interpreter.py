"""``podflare_code_interpreter``: a function tool that runs a model's code in a sandbox.

From the SDK's call to ``tool_sandbox`` and back to the SDK's kinds of output. Not the SDK's own shell and file
tools: those work on ``session``.
"""

from __future__ import annotations

import base64
import copy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from agents import FunctionTool, ToolOutputImage, ToolOutputText

from ..code_tool import DEFAULT_LIMIT, DEFAULT_SECONDS, DESCRIPTION, INPUT_SCHEMA, NAME
from ..tool_lifetime import AsyncLifetime
from ..tool_sandbox import ToolSandbox, Wanted
from .asking import OPERATOR, asked_by

if TYPE_CHECKING:
    from agents.tool_context import ToolContext

    from podflare_nb.client import AsyncSandbox, Sandbox

    from ..code_tool import ToolOutcome


@dataclass(init=False, eq=False)
class PodflareCodeInterpreter(AsyncLifetime, FunctionTool):
    """A function tool with a sandbox behind it."""

    _operator = OPERATOR

    def __init__(self, held: ToolSandbox, name: str, description: str) -> None:
        self._held = held
        super().__init__(
            name=name,
            description=description,
            params_json_schema=copy.deepcopy(INPUT_SCHEMA),
            # Not a method: a tool that refers to itself would keep its sandbox until the collector looks for cycles.
            on_invoke_tool=partial(_invoke, held),
        )


def podflare_code_interpreter(  # noqa: PLR0913 - each is an option of its own
    sandbox: Sandbox | AsyncSandbox | None = None,
    *,
    template: str | None = None,
    host: str | None = None,
    api_key: str | None = None,
    idle_timeout_seconds: int | None = None,
    name: str = NAME,
    description: str = DESCRIPTION,
    timeout_seconds: float | None = DEFAULT_SECONDS,
    limit: int = DEFAULT_LIMIT,
    images: bool = True,
) -> PodflareCodeInterpreter:
    """Make a tool for ``Agent(tools=[...])``.

    ``sandbox``: one of yours, which stays open; without it the first call makes one as ``template``, ``host``,
    ``api_key`` and ``idle_timeout_seconds`` say. ``timeout_seconds``: of one run; ``limit``: characters of output
    that the model is given; ``images``: False for a model that takes no pictures from tools. Agents that share the
    tool share the sandbox.
    """
    wanted = Wanted(template, host, api_key, idle_timeout_seconds)
    held = ToolSandbox(sandbox, wanted, limit=limit, timeout_seconds=timeout_seconds, images=images)
    return PodflareCodeInterpreter(held, name, description)


async def _invoke(
    held: ToolSandbox, context: ToolContext[Any], arguments: str
) -> str | list[ToolOutputText | ToolOutputImage]:
    return _output(await held.run_async(arguments, asked_by(context)))


def _output(outcome: ToolOutcome) -> str | list[ToolOutputText | ToolOutputImage]:
    """Text, and with it the pictures as data URLs."""
    if not outcome.images:
        return outcome.text
    output: list[ToolOutputText | ToolOutputImage] = [ToolOutputText(text=outcome.text)]
    for image in outcome.images:
        encoded = base64.b64encode(image.data).decode()
        output.append(ToolOutputImage(image_url=f"data:{image.media_type};base64,{encoded}"))
    return output
