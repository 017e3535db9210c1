"""An answer that is too large for an event goes as JSON: clients of the official package refuse such an event.

They take events of 1 MiB and JSON of any size; a notebook with a few pictures is larger than that. The protocol lets
the server choose between the two for each request, and the package chooses before it knows the answer. So the head
of a stream is held until its first event: if that is the answer and is too large, head and body become JSON. What
comes behind progress or a keep-alive stays an event; ``answers`` keeps what may come so late below the limit.
"""

from __future__ import annotations

from starlette.types import Message, Send

EVENT_BYTES = 1_000_000
"""Of one event, its framing included; the official client's limit is 1 MiB."""

_EVENTS, _JSON = b"text/event-stream", b"application/json"
_DATA = b"data: "


class LargeAsJson:
    """The ``send`` of an ASGI exchange, for the answer to a POST. Bounded: it holds a head, never a body."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._head: Message | None = None
        self._sent_all = False

    async def __call__(self, message: Message) -> None:
        """Take a piece of the answer."""
        if self._sent_all:
            return
        if message["type"] == "http.response.start" and _content_type(message).startswith(_EVENTS):
            self._head = message
            return
        if self._head is not None:
            head, self._head = self._head, None
            if len(message.get("body", b"")) > EVENT_BYTES:
                self._sent_all = True
                await self._send(_as_json(head))
                await self._send({"type": "http.response.body", "body": _data_of(message["body"])})
                return
            await self._send(head)
        await self._send(message)


def _content_type(head: Message) -> bytes:
    return next((value for name, value in head["headers"] if name.lower() == b"content-type"), b"")


def _as_json(head: Message) -> Message:
    headers = [(name, value) for name, value in head["headers"] if name.lower() != b"content-type"]
    return {**head, "headers": [*headers, (b"content-type", _JSON)]}


def _data_of(event: bytes) -> bytes:
    """The message in an event: one line, as JSON of the package has no newlines."""
    return next(line for line in event.splitlines() if line.startswith(_DATA)).removeprefix(_DATA)
