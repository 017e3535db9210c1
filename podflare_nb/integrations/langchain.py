"""LangChain: ``podflare_code_tool`` makes a StructuredTool that runs a model's code in a sandbox.

For ``create_agent(model, tools=[podflare_code_tool()])``, ToolNode, ``bind_tools`` and direct calls, blocking and
asynchronous. The content of the message is what the model is told, its artifact the ToolOutcome, its status "error"
where the run failed. Stands on ``tool_sandbox``.
"""

from __future__ import annotations

import base64
import copy
from typing import TYPE_CHECKING, Any, ClassVar, Literal

try:
    from langchain.tools import ToolRuntime
    from langchain_core.messages import AIMessage, ToolMessage
    from langchain_core.runnables import RunnableConfig
    from langchain_core.tools import StructuredTool
except ImportError as _error:
    raise ImportError("podflare_nb.integrations.langchain needs LangChain: pip install 'langchain>=1.4'") from _error

from pydantic import PrivateAttr

from .code_tool import DEFAULT_LIMIT, DEFAULT_SECONDS, DESCRIPTION, INPUT_SCHEMA, NAME, ToolOutcome
from .tool_lifetime import Lifetime
from .tool_sandbox import ToolSandbox, Wanted, provenance

if TYPE_CHECKING:
    from podflare_nb.client import AsyncSandbox, Sandbox

    from .code_tool import Provenance

OPERATOR = "langchain"

Runtime = ToolRuntime[Any, Any]
Told = tuple[Any, ToolOutcome]
"""A message's content (or the whole message) and its artifact."""


class PodflareCodeTool(Lifetime, StructuredTool):
    """A tool with a sandbox behind it."""

    _held: ToolSandbox = PrivateAttr()
    _operator: ClassVar[str] = OPERATOR

    def _to_args_and_kwargs(
        self, tool_input: str | dict[str, Any], tool_call_id: str | None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        # As they came: what a model invents must not meet the parameters of a function.
        arguments = {"code": tool_input} if isinstance(tool_input, str) else dict(tool_input)
        runtime = arguments.pop("runtime") if isinstance(arguments.get("runtime"), ToolRuntime) else None
        return (arguments, tool_call_id, runtime), {}


def podflare_code_tool(  # noqa: PLR0913 - each is an option of its own
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
) -> PodflareCodeTool:
    """Make a tool for an agent's ``tools=[...]``.

    ``sandbox``: one of yours, which stays open; without it the first call makes one as ``template``, ``host``,
    ``api_key`` and ``idle_timeout_seconds`` say. ``timeout_seconds``: of one run; ``limit``: characters of output
    that the model is given; ``images``: False for a model that takes no pictures from tools. Agents that share the
    tool share the sandbox.
    """
    wanted = Wanted(template, host, api_key, idle_timeout_seconds)
    held = ToolSandbox(sandbox, wanted, limit=limit, timeout_seconds=timeout_seconds, images=images)
    calls = _Calls(held, name)
    tool = PodflareCodeTool(
        name=name,
        description=description,
        args_schema=copy.deepcopy(INPUT_SCHEMA),
        func=calls.run,
        coroutine=calls.arun,
        response_format="content_and_artifact",
    )
    tool._held = held  # noqa: SLF001 - a pydantic model's private attribute, which its constructor does not take
    return tool


class _Calls:
    """What the tool does, blocking and not. The framework sees from the signatures what to hand in."""

    def __init__(self, held: ToolSandbox, name: str) -> None:
        self._held = held
        self._name = name

    def run(
        self, arguments: dict[str, Any], tool_call_id: str | None, runtime: Runtime, config: RunnableConfig
    ) -> Told:
        outcome = self._held.run(arguments, _asked_by(tool_call_id, runtime, config))
        return _message(outcome, tool_call_id, self._name), outcome

    async def arun(
        self, arguments: dict[str, Any], tool_call_id: str | None, runtime: Runtime, config: RunnableConfig
    ) -> Told:
        outcome = await self._held.run_async(arguments, _asked_by(tool_call_id, runtime, config))
        return _message(outcome, tool_call_id, self._name), outcome


def _asked_by(tool_call_id: str | None, runtime: Runtime | None, config: RunnableConfig) -> Provenance:
    """Who asks: an agent made by create_agent has a name in the configuration, and the model's in its messages."""
    agent = (config.get("metadata") or {}).get("lc_agent_name")
    return provenance(tool_call_id, agent if isinstance(agent, str) and agent else OPERATOR, _model_of(runtime))


def _model_of(runtime: Runtime | None) -> str | None:
    """Name the model as ``provider:name``, as the message that holds the call tells it. No runtime: a direct call."""
    state = runtime.state if runtime is not None else None
    messages = state.get("messages", []) if isinstance(state, dict) else []
    for message in reversed(messages):
        if isinstance(message, AIMessage):
            told = message.response_metadata
            provider, name = told.get("model_provider"), told.get("model_name")
            return f"{provider}:{name}" if provider and name else None
    return None


def _message(outcome: ToolOutcome, tool_call_id: str | None, name: str) -> Any:
    """The message for a call of a model; for a direct call, which has no id, its content."""
    content = _content(outcome)
    if tool_call_id is None:
        return content
    status: Literal["error", "success"] = "error" if outcome.is_error else "success"
    return ToolMessage(content, artifact=outcome, tool_call_id=tool_call_id, name=name, status=status)


def _content(outcome: ToolOutcome) -> str | list[str | dict[str, Any]]:
    """Text, and with it the pictures as LangChain's own content blocks, which every provider's package translates."""
    if not outcome.images:
        return outcome.text
    content: list[str | dict[str, Any]] = [{"type": "text", "text": outcome.text}]
    for image in outcome.images:
        encoded = base64.b64encode(image.data).decode()
        content.append({"type": "image", "base64": encoded, "mime_type": image.media_type})
    return content
