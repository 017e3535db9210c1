"""pydantic-ai: ``podflare_toolset`` makes a toolset with one tool, which runs a model's code in a sandbox.

For ``Agent(model, toolsets=[podflare_toolset()])``. An agent's run enters and leaves its toolsets: the sandbox of a
toolset lives for one run, or for as long as ``async with agent`` (or ``async with`` the toolset) lasts. What a
model got wrong and what a sandbox refuses are failed tool results. Stands on ``tool_sandbox``.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

try:
    from pydantic_ai import BinaryContent, RunContext, ToolDefinition
    from pydantic_ai.exceptions import ToolFailed
    from pydantic_ai.toolsets import AbstractToolset, ToolsetTool
except ImportError as _error:
    raise ImportError(
        "podflare_nb.integrations.pydantic_ai needs pydantic-ai: pip install 'pydantic-ai-slim>=2.68'"
    ) from _error

from pydantic_core import from_json

from .code_tool import DEFAULT_LIMIT, DEFAULT_SECONDS, DESCRIPTION, INPUT_SCHEMA, NAME, ToolOutcome
from .tool_lifetime import AsyncLifetime
from .tool_sandbox import ToolSandbox, Wanted, provenance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_ai.messages import UserContent

    from podflare_nb.client import AsyncSandbox, Sandbox

    from .code_tool import Provenance

OPERATOR = "pydantic-ai"
_RAW = "arguments"
"""Under this name goes what a model sent when it was no JSON object: the tool has no such argument."""


class PodflareToolset(AsyncLifetime, AbstractToolset[Any]):
    """One tool with a sandbox behind it."""

    _operator = OPERATOR

    def __init__(self, held: ToolSandbox, name: str, description: str, toolset_id: str | None) -> None:
        self._held = held
        self._id = toolset_id
        self._definition = ToolDefinition(
            name=name,
            description=description,
            parameters_json_schema=copy.deepcopy(INPUT_SCHEMA),
            # One kernel and one notebook: what a model asks for at once runs one after the other.
            sequential=True,
        )

    @property
    def id(self) -> str | None:
        """The toolset's name among an agent's."""
        return self._id

    async def get_tools(self, ctx: RunContext[Any]) -> dict[str, ToolsetTool[Any]]:
        """Give the one tool."""
        del ctx
        tool = ToolsetTool(toolset=self, tool_def=self._definition, max_retries=0, args_validator=_TakesAnything())
        return {self._definition.name: tool}

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]
    ) -> str | Sequence[UserContent]:
        """Run; raises ToolFailed, which is a failed result to the model, for what did not run or did not go well."""
        del name, tool
        arguments = tool_args[_RAW] if tool_args.keys() == {_RAW} else tool_args
        outcome = await self._held.run_async(arguments, _asked_by(ctx))
        if outcome.is_error and not outcome.images:
            raise ToolFailed(outcome.text)
        return _content(outcome)


def podflare_toolset(  # noqa: PLR0913 - each is an option of its own
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
    toolset_id: str | None = None,
) -> PodflareToolset:
    """Make a toolset for ``Agent(toolsets=[...])``.

    ``sandbox``: one of yours, which stays open; without it the first call makes one as ``template``, ``host``,
    ``api_key`` and ``idle_timeout_seconds`` say. ``timeout_seconds``: of one run of code; ``limit``: characters of
    output that the model is given; ``images``: False for a model that takes no pictures from tools. Agents that
    share the toolset share the sandbox.
    """
    wanted = Wanted(template, host, api_key, idle_timeout_seconds)
    held = ToolSandbox(sandbox, wanted, limit=limit, timeout_seconds=timeout_seconds, images=images)
    return PodflareToolset(held, name, description, toolset_id)


class _TakesAnything:
    """Lets every argument through to the tool, which knows the sentences; a refusal here would count as a retry."""

    def validate_json(self, input: str | bytes | bytearray, **options: Any) -> dict[str, Any]:  # noqa: A002 - theirs
        """Read JSON text; what is no object goes on as it came."""
        del options
        text = bytes(input).decode(errors="replace") if isinstance(input, bytes | bytearray) else input
        try:
            value = from_json(text or "{}")
        except ValueError:
            return {_RAW: text}
        return value if isinstance(value, dict) else {_RAW: value}

    def validate_python(self, input: Any, **options: Any) -> dict[str, Any]:  # noqa: A002 - theirs
        """Take a dictionary; anything else goes on as it came."""
        del options
        return input if isinstance(input, dict) else {_RAW: input}


def _asked_by(ctx: RunContext[Any]) -> Provenance:
    operator = ctx.agent.name if ctx.agent and ctx.agent.name else OPERATOR
    return provenance(ctx.tool_call_id, operator, f"{ctx.model.system}:{ctx.model.model_name}")


def _content(outcome: ToolOutcome) -> str | Sequence[UserContent]:
    if not outcome.images:
        return outcome.text
    pictures = (BinaryContent(data=image.data, media_type=image.media_type) for image in outcome.images)
    return [outcome.text, *pictures]
