"""The loop of an agent with Anthropic's Messages API: ask, run what it asks for in a sandbox, answer, until it is done.

Every reply and every answer is appended to the caller's ``messages``, which so can be sent again after any end:
each ``tool_use`` block has its ``tool_result``, also where the loop stopped before it ran. What the person and the
assistant said goes into the sandbox's notebook, beside the runs, as one turn. Errors of the provider are raised
as its SDK raises them (it has repeated what can be repeated); those of models and sandboxes are answers. The client
is only called here; its package is not imported.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from podflare_nb.client import AsyncSandbox, Sandbox

from ..code_tool import DEFAULT_SECONDS, Provenance, ToolOutcome, record, record_async
from ..steps import Step, Steps, walk, walk_async
from ..tool_sandbox import provenance
from .blocks import field, read_tool_use, tool_result
from .handlers import OPERATOR, answer_steps, tools

if TYPE_CHECKING:
    from anthropic import Anthropic, AsyncAnthropic
    from anthropic.types import Message

MAX_TOKENS = 8_192
MAX_TURNS = 20
"""Requests to the model in one call of the loop."""

_NOT_RUN = {
    "max_tokens": "Not run: the answer was cut at max_tokens. Ask for less in one answer.",
    "max_turns": "Not run: the loop had reached its limit of requests.",
    None: "Not run: the loop was stopped.",
}
_GOES_ON = {"tool_use", "pause_turn"}


@dataclass(frozen=True, slots=True)
class LoopResult:
    """How the loop ended. ``message`` is the model's last reply, ``text`` what it says in words.

    ``stop_reason`` is the provider's (``end_turn``, ``max_tokens``, ``refusal``, ...), or ``max_turns`` when the loop
    had asked so often. ``requests`` counts them; ``turn_id`` is the turn in the notebook.
    """

    message: Message
    text: str
    stop_reason: str | None
    requests: int
    turn_id: str


@dataclass(frozen=True, slots=True)
class _Loop:
    """What one call of the loop works with."""

    client: Any
    sandbox: Any
    messages: list[Any]
    request: dict[str, Any]
    max_turns: int
    on_message: Callable[[Any], object] | None
    timeout_seconds: float | None
    by: Provenance
    record: Callable[..., Any]


def run_tool_loop(  # noqa: PLR0913 - each is a choice of the caller
    client: Anthropic,
    sandbox: Sandbox,
    messages: list[Any],
    *,
    model: str,
    max_tokens: int = MAX_TOKENS,
    tools: Iterable[Any] | None = None,
    max_turns: int = MAX_TURNS,
    system: Any = None,
    on_message: Callable[[Message], object] | None = None,
    timeout_seconds: float | None = DEFAULT_SECONDS,
    operator: str = OPERATOR,
    **request: Any,
) -> LoopResult:
    """Let the model work in the sandbox until it has answered. ``messages`` grows in place.

    ``tools``: specifications, those of ``tools()`` when left out; ``on_message`` is called with each reply;
    ``timeout_seconds`` bounds each run of code; what is in ``request`` goes to ``messages.create`` as it is.
    """
    request |= _request(model, max_tokens, tools, system)
    by = provenance(None, operator, f"anthropic:{model}", f"turn_{uuid.uuid4().hex}")
    loop = _Loop(client, sandbox, messages, request, max_turns, on_message, timeout_seconds, by, record)
    return walk(_loop_steps(loop), sandbox)


async def run_tool_loop_async(  # noqa: PLR0913 - as above
    client: AsyncAnthropic,
    sandbox: AsyncSandbox,
    messages: list[Any],
    *,
    model: str,
    max_tokens: int = MAX_TOKENS,
    tools: Iterable[Any] | None = None,
    max_turns: int = MAX_TURNS,
    system: Any = None,
    on_message: Callable[[Message], Awaitable[object] | object] | None = None,
    timeout_seconds: float | None = DEFAULT_SECONDS,
    operator: str = OPERATOR,
    **request: Any,
) -> LoopResult:
    """``run_tool_loop`` for an AsyncAnthropic and an AsyncSandbox; ``on_message`` may be a coroutine function."""
    request |= _request(model, max_tokens, tools, system)
    by = provenance(None, operator, f"anthropic:{model}", f"turn_{uuid.uuid4().hex}")
    loop = _Loop(client, sandbox, messages, request, max_turns, on_message, timeout_seconds, by, record_async)
    return await walk_async(_loop_steps(loop), sandbox)


def _request(model: str, max_tokens: int, specifications: Iterable[Any] | None, system: Any) -> dict[str, Any]:
    chosen = tools() if specifications is None else list(specifications)
    return {"model": model, "max_tokens": max_tokens, "tools": chosen} | ({} if system is None else {"system": system})


def _loop_steps(loop: _Loop) -> Steps[LoopResult]:
    if loop.max_turns < 1:
        raise ValueError("max_turns must be at least 1: each is a request to the model.")
    if loop.messages and field(loop.messages[-1], "role") == "user":
        yield _recording(loop, _text(field(loop.messages[-1], "content")), "user")
    for number in range(1, loop.max_turns + 1):
        message = yield lambda _: loop.client.messages.create(messages=loop.messages, **loop.request)
        content, reason = list(message.content), message.stop_reason
        if content:
            loop.messages.append({"role": "assistant", "content": content})
        yield _recording(loop, _text(content), "assistant")
        if loop.on_message is not None:
            yield _telling(loop.on_message, message)
        uses = [block for block in content if field(block, "type") == "tool_use"]
        if reason == "tool_use" and number == loop.max_turns:
            reason = "max_turns"
        if reason == "tool_use" and uses:
            yield from _answers(loop, uses)
        elif reason != "pause_turn" or number == loop.max_turns:
            _leave(loop, uses, reason)
            reason = "max_turns" if reason == "pause_turn" else reason
            return LoopResult(message, _text(content), reason, number, loop.by.turn_id or "")
    raise AssertionError("the last round returns")


def _answers(loop: _Loop, uses: list[Any]) -> Steps[None]:
    """Run the blocks in their order. However this ends, each has an answer in the history."""
    results: list[Any] = []
    try:
        for block in uses:
            result = yield from answer_steps(block, loop.sandbox, None, loop.by, loop.timeout_seconds)
            results.append(result)
    finally:
        results += [_not_run(block, None) for block in uses[len(results) :]]
        loop.messages.append({"role": "user", "content": results})


def _leave(loop: _Loop, uses: list[Any], reason: str | None) -> None:
    if uses:
        loop.messages.append({"role": "user", "content": [_not_run(block, reason) for block in uses]})


def _not_run(block: object, reason: str | None) -> Any:
    return tool_result(read_tool_use(block), ToolOutcome(_NOT_RUN.get(reason, _NOT_RUN[None]), is_error=True))


def _recording(loop: _Loop, message: str, role: str) -> Step:
    return lambda sandbox: loop.record(sandbox, message, role, loop.by)


def _telling(on_message: Callable[[Any], object], message: Any) -> Step:
    return lambda _: on_message(message)


def _text(content: object) -> str:
    """What is said in words: a message's content is text, or blocks of which some are."""
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, Iterable) else ()
    texts = [field(block, "text") for block in blocks if field(block, "type") == "text"]
    return "\n\n".join(text for text in texts if isinstance(text, str))
