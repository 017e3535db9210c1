"""A turn in the events of AG-UI, the protocol between agents and user interfaces.

A cell of code is a call of the tool ``run_code``; its outputs come live as CUSTOM events ``cell-output`` and once
more, together, as the call's result. One encoder serves one stream, read from the turn's first event.
"""

from __future__ import annotations

from typing import Any

from .events import SSE, ChatEvent, encode, run_arguments


class AgUiStream:
    """Encode the events of one turn, in their order. ``thread_id`` is the sandbox's id."""

    content_type = SSE
    resumable = False

    def __init__(self, thread_id: str) -> None:
        self.headers: dict[str, str] = {}
        self._run = {"threadId": thread_id, "runId": ""}
        self._markdown: set[str] = set()
        self._outputs: dict[str, list[Any]] = {}
        self._failed = False

    def encode(self, event: ChatEvent) -> bytes:
        """Give the bytes for one event; there may be none."""
        return b"".join(b"data: %b\n\n" % encode({**told, "timestamp": event.ts}) for told in self._events(event))

    def _events(self, event: ChatEvent) -> list[dict[str, Any]]:  # noqa: PLR0911  # one answer for each type
        data = event.data
        match event.type:
            case "turn-start":
                self._run["runId"] = data["turn_id"]
                return [{"type": "RUN_STARTED", **self._run}]
            case "cell-start":
                return self._cell_started(data)
            case "text-delta":
                return [{"type": "TEXT_MESSAGE_CONTENT", "messageId": data["cell_id"], "delta": data["text"]}]
            case "cell-end":
                return self._cell_ended(data)
            case "turn-error":
                self._failed = True
                return [{"type": "RUN_ERROR", "message": data["message"], "code": data["code"]}]
            case "turn-end":
                return [] if self._failed else [{"type": "RUN_FINISHED", **self._run, "result": data}]
            case _:
                if event.type == "cell-output":
                    self._outputs.get(data["cell_id"], []).append(data["output"])
                return [{"type": "CUSTOM", "name": event.type, "value": data}]

    def _cell_started(self, data: dict[str, Any]) -> list[dict[str, Any]]:
        cell_id = data["cell_id"]
        if data["cell_type"] == "markdown":
            if data["role"] != "assistant":  # the user's is known; a branch's line comes as a CUSTOM event
                return []
            self._markdown.add(cell_id)
            return [{"type": "TEXT_MESSAGE_START", "messageId": cell_id, "role": "assistant"}]
        self._outputs[cell_id] = []
        arguments = encode(run_arguments(data)).decode()
        return [
            {"type": "TOOL_CALL_START", "toolCallId": cell_id, "toolCallName": "run_code"},
            {"type": "TOOL_CALL_ARGS", "toolCallId": cell_id, "delta": arguments},
            {"type": "TOOL_CALL_END", "toolCallId": cell_id},
        ]

    def _cell_ended(self, data: dict[str, Any]) -> list[dict[str, Any]]:
        cell_id = data["cell_id"]
        if cell_id in self._markdown:
            return [{"type": "TEXT_MESSAGE_END", "messageId": cell_id}]
        if cell_id not in self._outputs:
            return []
        content = encode({**data, "outputs": self._outputs.pop(cell_id)}).decode()
        return [
            {
                "type": "TOOL_CALL_RESULT",
                "messageId": f"{cell_id}-result",
                "toolCallId": cell_id,
                "content": content,
                "role": "tool",
            }
        ]
