"""Earlier turns (``history``) as pydantic-ai's messages. Imports pydantic-ai, as ``agent`` does."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    ModelResponsePart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from .history import PastText, PastTurn


def messages_of(turns: Iterable[PastTurn]) -> list[ModelMessage]:
    """All messages of these turns, oldest first."""
    messages: list[ModelMessage] = []
    for turn in turns:
        messages += turn.native if turn.native is not None else _retold(turn)
    return messages


def keep_native(turn: PastTurn, messages: list[ModelMessage], limit: int) -> None:
    """Keep the provider's own messages of a turn that ended well; one that is too large is retold by its cells."""
    size = len(ModelMessagesTypeAdapter.dump_json(messages))
    if size <= limit:
        turn.native, turn.native_size = list(messages), size


def _retold(turn: PastTurn) -> list[ModelMessage]:
    """A turn from its cells: every run is a call of ``run_code``, every end an answer."""
    messages: list[ModelMessage] = [ModelRequest(parts=[UserPromptPart(turn.message)])]
    said: list[ModelResponsePart] = []
    for step in turn.steps:
        if isinstance(step, PastText):
            said.append(TextPart(step.text))
            continue
        arguments = {"code": step.source, "language": step.language}
        said.append(ToolCallPart("run_code", arguments, tool_call_id=step.tool_call_id))
        messages.append(ModelResponse(parts=said))
        messages.append(ModelRequest(parts=[ToolReturnPart("run_code", step.result, tool_call_id=step.tool_call_id)]))
        said = []
    if turn.note:
        said.append(TextPart(f"({turn.note})"))
    messages.append(ModelResponse(parts=said or [TextPart("(Done.)")]))
    return messages
