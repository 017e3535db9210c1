"""One HTTP exchange with a program in a sandbox, over a connection of its own (RFC 9112, by h11).

What a browser sent was parsed by Tornado and is written anew by h11, and the other way round: no byte of framing is
passed on, so neither side can make the other see a request or an answer that we do not see. What the program says is
not trusted: the size of its head is bounded, and what breaks the protocol ends the exchange.

Overflow rule: one piece is in flight in each direction; whoever is slow slows the other down.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import h11

from ..errors import InvalidArgumentError, NoAnswerError, UnreachableError
from .port_headers import Headers

PIECE_BYTES = 64 * 1024
HEAD_BYTES = 64 * 1024
ANSWER_SECONDS = 300.0
"""Until the program begins to answer, once it has the whole request."""
GARBLED = "What listens there does not answer as HTTP/1.1 demands."


class Upstream:
    """A connection to a program, for one request. ``close`` it whatever happens."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
        self._deaf = False

    @classmethod
    async def over(cls, sock: socket.socket) -> Upstream:
        """Use a connected socket, which is this object's then."""
        try:
            return cls(*await asyncio.open_connection(sock=sock, limit=PIECE_BYTES))
        except BaseException:
            sock.close()
            raise

    async def ask(self, method: str, target: str, headers: Headers) -> None:
        """Send the head of the request. Raises InvalidArgumentError for one that cannot be sent on."""
        try:
            request = h11.Request(
                method=method.encode("latin-1"),
                target=target.encode("latin-1"),
                headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
            )
            await self._say(request)
        except (h11.LocalProtocolError, UnicodeEncodeError) as error:
            raise InvalidArgumentError(f"This request cannot be sent on: {error}.") from None

    async def send(self, piece: bytes) -> None:
        """Send a part of the body; nothing to a program that does not listen any more, which it may have good reason
        for: its answer tells."""
        if piece:
            await self._say(h11.Data(data=piece))

    async def end(self) -> None:
        """The body is over."""
        await self._say(h11.EndOfMessage())

    async def _say(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if not data or self._deaf:
            return
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError:
            self._deaf = True

    async def answer(self) -> h11.Response | h11.InformationalResponse:
        """The head of the answer; an informational one only if it is 101. Raises UnreachableError."""
        while True:
            event = await self._next()
            if isinstance(event, h11.Response):
                return event
            if isinstance(event, h11.InformationalResponse):
                if event.status_code == 101:
                    return event
                continue
            raise UnreachableError("What listens there ended the connection without an answer.")

    async def body(self) -> AsyncIterator[bytes]:
        """The rest of the answer, as it comes. Raises UnreachableError if it ends too early."""
        while isinstance(event := await self._next(), h11.Data):
            yield bytes(event.data)

    async def _next(self) -> h11.Event | type[h11.PAUSED]:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await self._read())
        except h11.RemoteProtocolError:
            raise UnreachableError(GARBLED) from None
        return event  # type: ignore[return-value] # NEED_DATA was the other sentinel

    async def _read(self) -> bytes:
        try:
            return await self._reader.read(PIECE_BYTES)
        except ConnectionError:
            return b""

    def opened(self) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
        """After a 101: what came behind it, and the connection, which speaks another protocol from now on."""
        trailing, _ = self._http.trailing_data
        return trailing, self._reader, self._writer

    def close(self) -> None:
        """Give it up, with what has not been sent yet. Idempotent."""
        self._writer.transport.abort()


async def in_time(upstream: Upstream) -> h11.Response | h11.InformationalResponse:
    """The head of the answer. Raises NoAnswerError, and what ``answer`` raises."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await upstream.answer()
    except TimeoutError:
        raise NoAnswerError(f"What listens there did not answer within {ANSWER_SECONDS:.0f} seconds.") from None
