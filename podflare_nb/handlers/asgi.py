"""One HTTP exchange of Tornado as an ASGI application sees it: scope, receive, send.

The body has been read by then, as ``bodies`` bounds it. Overflow rule: as every stream of ours, one piece is in
flight at a time. A client that goes away is told as ``http.disconnect``; what is sent after that is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from tornado.iostream import StreamClosedError

from .streaming import StreamingHandler

_OF_THE_CONNECTION = frozenset({"connection", "keep-alive", "transfer-encoding"})
"""Headers that are Tornado's to decide."""

EVENTS = b"text/event-stream"


class AsgiExchange:
    """``handler`` has been let in, and ``body`` is all of its request's body."""

    def __init__(self, handler: StreamingHandler, body: bytes) -> None:
        self._handler = handler
        self._body: bytes | None = body
        self._gone = asyncio.Event()
        request = handler.request
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": request.protocol,
            "path": request.path,
            "raw_path": request.path.encode(),
            "query_string": request.query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in request.headers.get_all()],
            "client": (request.remote_ip, 0),
            "server": None,
        }

    def disconnected(self) -> None:
        """Take note that the client has gone away."""
        self._gone.set()

    async def receive(self) -> dict[str, Any]:
        """Give the body, once; then wait for the client to go away."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Take a piece of the answer, and wait until the client's socket has it."""
        if self._gone.is_set():
            return
        if message["type"] == "http.response.start":
            self._start(message)
            return
        try:
            if message.get("body"):
                await self._handler.send(message["body"])
            if not message.get("more_body"):
                await self._handler.finish_stream()
        except StreamClosedError:
            self._gone.set()

    def _start(self, message: MutableMapping[str, Any]) -> None:
        handler = self._handler
        handler.send_small_pieces()
        handler.clear_header("Content-Type")
        handler.set_status(message["status"])
        streams = False
        for name, value in message.get("headers", ()):
            if name.decode().lower() not in _OF_THE_CONNECTION:
                handler.set_header(name.decode(), value.decode())
            if name.lower() == b"content-type" and value.startswith(EVENTS):
                streams = True
        if streams:
            # Its first event may be long in coming; the client is to know that it may listen.
            handler.open_stream()
