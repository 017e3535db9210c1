"""Answers that are streams: lines or chunks, sent as they are made, to a client that may be slow or may go away.

Overflow rule: one piece is in flight at a time; the next is asked for when the client has taken the last one. A
client that takes nothing for ``STALL_SECONDS`` is cut off. One that goes away ends the handler's work with
``asyncio.CancelledError``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from http import HTTPStatus
from typing import Any

from tornado.iostream import IOStream, StreamClosedError

from ..errors import PodflareError
from .base import PodflareHandler

STALL_SECONDS = 120.0


class StreamingHandler(PodflareHandler):
    """Base of handlers whose answer is a stream."""

    _left = False
    """Whether the client has gone away."""

    def begin_stream(self, content_type: str) -> None:
        """Set what a stream's headers need; from here on, the client's going away cancels this handler's task."""
        self.set_status(HTTPStatus.OK)
        self.set_header("Content-Type", content_type)
        self.set_header("Cache-Control", "no-store")
        # nginx would hold lines back until its buffer is full.
        self.set_header("X-Accel-Buffering", "no")
        self.send_small_pieces()
        self._task = asyncio.current_task()

    def send_small_pieces(self) -> None:
        """Have the system send each piece as it is, not wait for more."""
        if (stream := self._socket()) is not None:
            stream.set_nodelay(True)

    def open_stream(self) -> None:
        """Send the headers now, if nothing has been sent yet."""
        if not self._headers_written and not self._finished:
            self.flush()

    def _socket(self) -> IOStream | None:
        stream = getattr(self.request.connection, "stream", None)
        return stream if isinstance(stream, IOStream) else None

    async def send(self, piece: bytes) -> None:
        """Send a piece and wait until the client's socket has taken it. Raises StreamClosedError."""
        self.write(piece)
        sent = self.flush()
        if not sent.done():
            try:
                async with asyncio.timeout(STALL_SECONDS):
                    await sent
            except TimeoutError:
                if (stream := self._socket()) is not None:
                    stream.close()
                raise StreamClosedError from None

    async def send_all(self, pieces: AsyncIterable[bytes]) -> None:
        """Send every piece, then end the answer."""
        async for piece in pieces:
            await self.send(piece)
        await self.finish_stream()

    async def finish_stream(self) -> None:
        """End the answer; the content type stays as it was set."""
        content_type = self._headers.get("Content-Type", "application/octet-stream")
        # What was not sent yet goes out with the end.
        await self.finish(set_content_type=content_type)

    def compute_etag(self) -> str | None:
        """Give none: hashing a stream that fitted into one piece would be for nothing."""
        return None

    def on_connection_close(self) -> None:
        """Cancel the work: nobody is there to read; Tornado calls it."""
        super().on_connection_close()
        self._left = True
        task: asyncio.Task[object] | None = getattr(self, "_task", None)
        if task is not None and not self._finished:
            task.cancel()

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """Tell an error, unless the client has gone away: Tornado calls it then, too, and would log that."""
        stream = self._socket()
        # No socket: the caller is in this process (``in_process``).
        if not self._left and (stream is None or not stream.closed()):
            super().send_error(status_code, **kwargs)


def sentence_of(error: BaseException) -> tuple[str, str]:
    """Give code and sentence of an error that comes after the stream has begun, for its last event."""
    if isinstance(error, PodflareError):
        return error.code, error.message
    return "internal", "The service failed in the middle of this stream; its log has the details."
