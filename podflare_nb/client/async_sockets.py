"""A transport to a service on this machine for one event loop: the counterpart of ``sockets``, with the same rules."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

from .http1 import LAST_CHUNK, AnswerReader, chunk_bytes, head_bytes, length_of
from .sockets import IDLE_SECONDS, MOST_IDLE, address_of, is_stale
from .transport import CutError, NotSentError, SlowError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .transport import Request

MOST_UNREAD_BYTES = 1024 * 1024
"""What arrived and was not asked for; then the service has to wait."""


class Link(asyncio.Protocol):
    """One connection: what arrived and was not read yet, and whether more can be sent or will come."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received: deque[bytes] = deque()
        self._size = 0
        self._lost = False
        self._reason = ""
        self._paused = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self.idle_since = 0.0
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """For asyncio: it is open."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        """For asyncio: bytes came."""
        self._received.append(data)
        self._size += len(data)
        if self._size > MOST_UNREAD_BYTES and self._transport is not None:
            self._transport.pause_reading()
        _wake(self._reader)

    def eof_received(self) -> None:
        """For asyncio: nothing more comes."""
        self._lost = True
        _wake(self._reader)

    def connection_lost(self, error: Exception | None) -> None:
        """For asyncio: it is over."""
        self._lost, self._paused = True, False
        self._reason = str(error or "")
        _wake(self._reader)
        _wake(self._writer)
        _wake(self.closed)

    def pause_writing(self) -> None:
        """For asyncio: the service is slow to take what is sent."""
        self._paused = True

    def resume_writing(self) -> None:
        """For asyncio: more can be sent."""
        self._paused = False
        _wake(self._writer)

    @property
    def is_usable(self) -> bool:
        """Whether another request can be sent."""
        if self._lost or self._received or self._transport is None or self._transport.is_closing():
            return False
        # The loop may not have had the time to tell us of its end.
        return not is_stale(self._transport.get_extra_info("socket").fileno())

    async def send(self, data: bytes, seconds: float) -> None:
        """Send; raises CutError."""
        if self._lost or self._transport is None:
            raise CutError(self._reason or "the service closed the connection")
        self._transport.write(data)
        if self._paused:
            self._writer = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(seconds):
                    await self._writer
            except TimeoutError:
                raise SlowError(f"nothing could be sent for {seconds:g} s") from None

    async def receive(self, seconds: float | None) -> bytes:
        """Give what arrived, waiting for something; nothing: it has ended. Raises CutError."""
        if not self._received and not self._lost:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                if seconds is None:
                    await self._reader
                else:
                    async with asyncio.timeout(seconds):
                        await self._reader
            except TimeoutError:
                raise SlowError(f"nothing came for {seconds:g} s") from None
        if not self._received:
            if self._reason:
                raise CutError(self._reason)
            return b""
        data = self._received[0] if len(self._received) == 1 else b"".join(self._received)
        self._received.clear()
        if self._size > MOST_UNREAD_BYTES and self._transport is not None and not self._lost:
            self._transport.resume_reading()
        self._size = 0
        return data

    def abort(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()


class AsyncSocketTransport:
    """Connections of one event loop to one service."""

    def __init__(self, url: str) -> None:
        self._address = address_of(url)
        self._idle: list[Link] = []
        self._closed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._address} {len(self._idle)} idle>"

    async def send(self, request: Request, pieces: AsyncIterator[bytes] | None = None) -> AsyncSocketAnswer:
        """Send and wait for the answer's head."""
        link = self._take() or await self._connect(request.timeouts.connect)
        answer = AsyncSocketAnswer(self, link, AnswerReader(request.method), request.timeouts.read)
        try:
            await _send(link, request, pieces)
            await answer.begin()
        except BaseException:
            await answer.aclose()
            raise
        return answer

    async def keep(self, link: Link) -> None:
        """Take back a connection that is good for another request."""
        if self._closed or len(self._idle) >= MOST_IDLE:
            link.abort()
            await link.closed
        else:
            link.idle_since = time.monotonic()
            self._idle.append(link)

    async def aclose(self) -> None:
        """Close what is idle; what is in use closes when it is given back."""
        self._closed = True
        links, self._idle = self._idle, []
        for link in links:
            link.abort()
        for link in links:
            await link.closed

    def _take(self) -> Link | None:
        while self._idle:
            link = self._idle.pop()
            if time.monotonic() - link.idle_since < IDLE_SECONDS and link.is_usable:
                return link
            link.abort()
        return None

    async def _connect(self, seconds: float) -> Link:
        host, port = self._address
        try:
            async with asyncio.timeout(seconds):
                _, link = await asyncio.get_running_loop().create_connection(Link, host, port)
        except OSError as error:
            raise NotSentError(error.strerror or str(error) or type(error).__name__) from error
        return link


class AsyncSocketAnswer:
    """An answer on a connection: transport.AsyncAnswer."""

    def __init__(
        self, transport: AsyncSocketTransport, link: Link, reader: AnswerReader, seconds: float | None
    ) -> None:
        self._transport = transport
        self._link = link
        self._reader = reader
        self._seconds = seconds
        self._closed = False
        self._first = b""

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._reader.status

    @property
    def headers(self) -> dict[str, str]:
        """By names in lower case."""
        return self._reader.headers

    async def begin(self) -> None:
        """Wait for the head."""
        while not self._reader.status:
            self._first = await self._receive()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give the body as it comes."""
        first, self._first = self._first, b""
        if first:
            yield first
        while not self._reader.done:
            if piece := await self._receive():
                yield piece

    async def read(self) -> bytes:
        """Give the whole body."""
        pieces, self._first = [self._first], b""
        while not self._reader.done:
            pieces.append(await self._receive())
        return b"".join(pieces)

    async def aclose(self) -> None:
        """Give the connection back if the answer was read to its end."""
        if self._closed:
            return
        self._closed = True
        if self._reader.done and self._reader.reusable:
            await self._transport.keep(self._link)
        else:
            self._link.abort()
            await self._link.closed

    async def _receive(self) -> bytes:
        data = await self._link.receive(self._seconds)
        if data:
            return self._reader.feed(data)
        self._reader.end()
        return b""


async def _send(link: Link, request: Request, pieces: AsyncIterator[bytes] | None) -> None:
    seconds = request.timeouts.write
    head = head_bytes(request, in_pieces=pieces is not None)
    if pieces is None:
        await link.send(head + (request.content or b""), seconds)
        return
    await link.send(head, seconds)
    left = length_of(request)
    try:
        async for piece in pieces:
            await link.send(chunk_bytes(piece) if left is None else piece[:left], seconds)
            left = left if left is None else max(0, left - len(piece))
        if left is None:
            await link.send(LAST_CHUNK, seconds)
    except CutError:
        return  # a service that refuses stops reading: what it says is the answer
    if left:
        raise CutError(f"the content ended {left} bytes before its length")


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
