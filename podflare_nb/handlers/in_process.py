"""The service as its own client: a request of httpx handled by this process's application, without a socket.

For what stands on the client and runs in the service (MCP). The request goes through the same routes, the same
check of its key and the same limits as one from outside; only the socket is left out, and with it the questions of
which address, which certificate and which proxy leads back to ourselves. Overflow rule: one piece of an answer's
body is in flight at a time, as on a socket whose buffer is full.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace

import httpx
from tornado import httputil, web
from tornado.iostream import StreamClosedError

HOST = "127.0.0.1"
"""What requests name as the host: an address that is always this machine's."""


class InProcessTransport(httpx.AsyncBaseTransport):
    """Hands requests to ``application``, on the event loop that it runs on."""

    def __init__(self, application: web.Application) -> None:
        self._application = application

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and give the answer with its body unread. Raises httpx.TransportError."""
        exchange = _Exchange()
        try:
            await self._send(request, exchange)
            status, headers = await exchange.started
        except StreamClosedError as error:
            await exchange.aclose()
            raise httpx.ReadError("The request was given up inside this process.") from error
        except BaseException:
            await exchange.aclose()
            raise
        return httpx.Response(status, headers=headers, stream=exchange)

    async def _send(self, request: httpx.Request, exchange: _Exchange) -> None:
        delegate = self._application.start_request(self, exchange)
        start_line = httputil.RequestStartLine(request.method, request.url.raw_path.decode("ascii"), "HTTP/1.1")
        headers = httputil.HTTPHeaders()
        for name, value in request.headers.multi_items():
            headers.add(name, value)
        # In a context of its own: what the handler notes of its request is not to be taken for the outer one's.
        await _done(contextvars.Context().run(delegate.headers_received, start_line, headers))
        stream = request.stream
        if isinstance(stream, httpx.AsyncByteStream):
            async for chunk in stream:
                if exchange.over:
                    return
                await _done(delegate.data_received(chunk))
        if not exchange.over:
            delegate.finish()


async def _done(result: Awaitable[None] | None) -> None:
    if result is not None:
        await result


class _Exchange(httputil.HTTPConnection, httpx.AsyncByteStream):
    """One request: to Tornado the connection that takes its answer, to httpx the stream of the answer's body."""

    def __init__(self) -> None:
        self.started: asyncio.Future[tuple[int, list[tuple[str, str]]]] = asyncio.get_running_loop().create_future()
        self.context = SimpleNamespace(remote_ip=HOST, protocol="http")
        self.over = False
        self._closed = False
        self._pieces: list[bytes] = []
        self._taken: asyncio.Future[None] | None = None
        self._news = asyncio.Event()
        self._on_close: Callable[[], object] | None = None

    # What Tornado calls.

    def set_close_callback(self, callback: Callable[[], object] | None) -> None:
        """Keep what is to be called when the client goes away before the end."""
        self._on_close = callback

    def set_max_body_size(self, size: int) -> None:
        """Do nothing: a handler bounds the body that it takes."""

    def write_headers(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
        chunk: bytes | None = None,
    ) -> asyncio.Future[None]:
        """Begin the answer."""
        if isinstance(start_line, httputil.ResponseStartLine) and not self.started.done():
            self.started.set_result((start_line.code, list(headers.get_all())))
        return self.write(chunk or b"")

    def write(self, chunk: bytes) -> asyncio.Future[None]:
        """Take a piece of the body; the future is done when the reader has it."""
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._closed:
            taken.set_exception(StreamClosedError())
            taken.exception()
            return taken
        if not chunk:
            taken.set_result(None)
            return taken
        self._pieces.append(bytes(chunk))
        self._taken = taken
        self._news.set()
        return taken

    def finish(self) -> None:
        """End the answer."""
        self.over = True
        self._news.set()

    # What httpx calls.

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await self._news.wait()
            self._news.clear()
            pieces, self._pieces = self._pieces, []
            self._was_taken()
            for piece in pieces:
                yield piece
            if self.over and not self._pieces:
                return

    async def aclose(self) -> None:
        """Let go of the answer; a handler that has not finished sees its client gone."""
        self._closed = True
        self._pieces.clear()
        self.started.cancel()
        if not self.over:
            self.over = True
            if self._on_close is not None:
                self._on_close()
        self._news.set()
        self._was_taken()

    def _was_taken(self) -> None:
        taken, self._taken = self._taken, None
        if taken is not None and not taken.done():
            if self._closed:
                taken.set_exception(StreamClosedError())
                taken.exception()
            else:
                taken.set_result(None)
