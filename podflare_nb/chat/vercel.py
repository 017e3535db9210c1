"""A turn as the Vercel AI SDK's UI message stream, so that ``useChat`` shows it as it is.

Only chunk types of the SDK's major 5 are used, because its parsers refuse what they do not know. A cell of code is
a dynamic tool call named ``run_code``; its outputs come live as transient ``data-cell-output`` parts and once
more, together, as the tool's output. What is done with branches comes as ``data-branch`` parts. One encoder serves
one stream, read from the turn's first event.
"""

from __future__ import annotations

from typing import Any

from .events import SSE, ChatEvent, encode, run_arguments

HEADERS = {"x-vercel-ai-ui-message-stream": "v1"}


class VercelStream:
    """Encode the events of one turn, in their order."""

    content_type = SSE
    resumable = False

    def __init__(self) -> None:
        self.headers = dict(HEADERS)
        self._markdown: set[str] = set()
        self._outputs: dict[str, list[Any]] = {}

    def encode(self, event: ChatEvent) -> bytes:
        """Give the bytes for one event; there may be none."""
        chunks = b"".join(b"data: %b\n\n" % encode(chunk) for chunk in self._chunks(event))
        return chunks + (b"data: [DONE]\n\n" if event.type == "turn-end" else b"")

    def _chunks(self, event: ChatEvent) -> list[dict[str, Any]]:  # noqa: PLR0911  # one answer for each type
        data = event.data
        match event.type:
            case "turn-start":
                metadata = {"turn_id": data["turn_id"], "model": data["model"]}
                return [{"type": "start", "messageId": data["turn_id"], "messageMetadata": metadata}]
            case "cell-start":
                return self._cell_started(data)
            case "text-delta":
                return [{"type": "text-delta", "id": data["cell_id"], "delta": data["text"]}]
            case "cell-output":
                self._outputs.get(data["cell_id"], []).append(data["output"])
                return [{"type": "data-cell-output", "data": data, "transient": True}]
            case "cell-end":
                return self._cell_ended(data)
            case "branch-fork" | "branch-compare" | "branch-merge" | "branch-close":
                return [{"type": "data-branch", "data": {"event": event.type, **data}}]
            case "usage":
                return [{"type": "message-metadata", "messageMetadata": {"usage": data}}]
            case "turn-error":
                return [{"type": "error", "errorText": data["message"]}]
            case "turn-end":
                return [{"type": "finish", "messageMetadata": data}]
            case _:
                return [{"type": f"data-{event.type}", "data": data, "transient": True}]

    def _cell_started(self, data: dict[str, Any]) -> list[dict[str, Any]]:
        cell_id = data["cell_id"]
        if data["cell_type"] == "markdown":
            if data["role"] != "assistant":  # the user's is known; a branch's line comes as data-branch
                return []
            self._markdown.add(cell_id)
            return [{"type": "text-start", "id": cell_id}]
        self._outputs[cell_id] = []
        call = {"toolCallId": cell_id, "toolName": "run_code", "dynamic": True}
        return [
            {"type": "tool-input-start", **call},
            {
                "type": "tool-input-available",
                **call,
                "input": run_arguments(data),
            },
        ]

    def _cell_ended(self, data: dict[str, Any]) -> list[dict[str, Any]]:
        cell_id = data["cell_id"]
        if cell_id in self._markdown:
            return [{"type": "text-end", "id": cell_id}]
        if cell_id not in self._outputs:
            return []
        output = {**data, "outputs": self._outputs.pop(cell_id)}
        return [{"type": "tool-output-available", "toolCallId": cell_id, "output": output, "dynamic": True}]
