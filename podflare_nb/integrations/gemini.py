"""Gemini: ``podflare_code_tool`` gives what google-genai needs to let a model run code in a sandbox.

``tool`` goes into ``GenerateContentConfig(tools=[...])``, and ``answer`` runs what the model asked for; or
``function`` (``async_function`` for ``client.aio``) goes there instead, and the SDK calls it by itself, without
pictures. Not Gemini's own code execution, which runs at the provider. Stands on ``tool_sandbox``.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, TypeVar

try:
    from google.genai import types
except ImportError as _error:
    raise ImportError("podflare_nb.integrations.gemini needs google-genai: pip install 'google-genai>=3.4'") from _error

from .code_tool import DEFAULT_LIMIT, DEFAULT_SECONDS, DESCRIPTION, INPUT_SCHEMA, NAME
from .tool_lifetime import Lifetime
from .tool_sandbox import ToolSandbox, Wanted, provenance, without_images

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from podflare_nb.client import AsyncSandbox, Sandbox

    from .code_tool import Provenance, ToolOutcome

F = TypeVar("F", bound="Callable[..., object]")

OPERATOR = "google-genai"
PROVIDER = "google"


class PodflareCodeTool(Lifetime):
    """A function for the model with a sandbox behind it.

    ``declaration`` tells the model of it, ``tool`` is a tool with nothing else; ``function`` and ``async_function``
    are for the SDK to call by itself.
    """

    _operator = OPERATOR

    def __init__(self, held: ToolSandbox, name: str, description: str) -> None:
        self._held = held
        self._name = name
        self.declaration = types.FunctionDeclaration(
            name=name, description=description, parameters_json_schema=copy.deepcopy(INPUT_SCHEMA)
        )
        self.tool = types.Tool(function_declarations=[self.declaration])
        self.function: Callable[..., str] = _function(held, name, description)
        self.async_function: Callable[..., Awaitable[str]] = _async_function(held, name, description)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name} {self._held!r}>"

    def handle(self, call: types.Part | types.FunctionCall, *, model: str | None = None) -> types.Part:
        """Run one function call and give the part that answers it. ``model``: its name, for the notebook."""
        asked = _call_of(call)
        return self._part(asked, self._held.run(asked.args or {}, _asked_by(asked, model)))

    async def ahandle(self, call: types.Part | types.FunctionCall, *, model: str | None = None) -> types.Part:
        """``handle`` on an event loop."""
        asked = _call_of(call)
        return self._part(asked, await self._held.run_async(asked.args or {}, _asked_by(asked, model)))

    def answer(self, response: types.GenerateContentResponse) -> list[types.Part]:
        """Run the response's calls of this function, in order; empty when there are none. Other calls are yours."""
        return [self.handle(call, model=response.model_version) for call in self._calls_in(response)]

    async def aanswer(self, response: types.GenerateContentResponse) -> list[types.Part]:
        """``answer`` on an event loop."""
        return [await self.ahandle(call, model=response.model_version) for call in self._calls_in(response)]

    def _calls_in(self, response: types.GenerateContentResponse) -> list[types.FunctionCall]:
        return [call for call in response.function_calls or () if call.name == self._name]

    def _part(self, asked: types.FunctionCall, outcome: ToolOutcome) -> types.Part:
        answer = {"error" if outcome.is_error else "output": outcome.text}
        pictures = [
            types.FunctionResponsePart.from_bytes(data=image.data, mime_type=image.media_type)
            for image in outcome.images
        ]
        response = types.FunctionResponse(id=asked.id, name=self._name, response=answer, parts=pictures or None)
        return types.Part(function_response=response)


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
    """Make a tool for ``GenerateContentConfig(tools=[...])``.

    ``sandbox``: one of yours, which stays open; without it the first call makes one as ``template``, ``host``,
    ``api_key`` and ``idle_timeout_seconds`` say. ``timeout_seconds``: of one run; ``limit``: characters of output
    that the model is given; ``images``: False for models before Gemini 3, which take no pictures in the answer of a
    function.
    """
    wanted = Wanted(template, host, api_key, idle_timeout_seconds)
    held = ToolSandbox(sandbox, wanted, limit=limit, timeout_seconds=timeout_seconds, images=images)
    return PodflareCodeTool(held, name, description)


def _function(held: ToolSandbox, name: str, description: str) -> Callable[..., str]:
    # A plain function, which takes and gives text alone: the SDK copies its tools deeply, and of an object's method it
    # would copy the sandbox, too; and it checks arguments by isinstance, which knows no Literal.
    def run_code(code: str, language: str = "python") -> str:
        outcome = held.run({"code": code, "language": language}, provenance(operator=OPERATOR))
        return without_images(outcome).text

    return _named(run_code, name, description)


def _async_function(held: ToolSandbox, name: str, description: str) -> Callable[..., Awaitable[str]]:
    async def run_code(code: str, language: str = "python") -> str:
        outcome = await held.run_async({"code": code, "language": language}, provenance(operator=OPERATOR))
        return without_images(outcome).text

    return _named(run_code, name, description)


def _named(function: F, name: str, description: str) -> F:
    """Give the function the name and the description that the model shall see."""
    function.__name__ = name
    function.__doc__ = description
    return function


def _call_of(call: types.Part | types.FunctionCall) -> types.FunctionCall:
    asked = call.function_call if isinstance(call, types.Part) else call
    if asked is None:
        raise TypeError("This part holds no function call. `response.function_calls` are those of a response.")
    return asked


def _asked_by(asked: types.FunctionCall, model: str | None) -> Provenance:
    return provenance(asked.id, OPERATOR, f"{PROVIDER}:{model}" if model else None)
