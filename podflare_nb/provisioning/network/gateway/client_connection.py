"""A client's connection to the proxy: request heads in, answers of our own out."""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import suppress
from http import HTTPStatus

from . import request_head
from .relay import end_writing
from .request_head import RequestHead

HEAD_SECONDS = 10.0
FAREWELL_SECONDS = 1.0
FAREWELL_BYTES = 256 * 1024
RECEIVE_BYTES = 64 * 1024
MAX_REASON = 200
_NOT_A_REASON = re.compile(r"[^\x20-\x7e]")


class LateError(Exception):
    """The client did not say in time what it wants."""


class ClientConnection:
    """``buffer``: what was read and belongs to nothing yet."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = bytearray()

    async def send(self, data: bytes) -> None:
        """Send all of it. Raises OSError."""
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def receive(self) -> bytes:
        """Some bytes; none at the end. Raises OSError."""
        return await asyncio.get_running_loop().sock_recv(self.sock, RECEIVE_BYTES)

    async def read_head(self, idle_seconds: float) -> RequestHead | None:
        """The next request's head; None if the client ends or says nothing for so long.

        Raises LateError for a head that comes too slowly, BadRequestError, OSError.
        """
        try:
            async with asyncio.timeout(idle_seconds):
                while not self._begun():
                    if not await self._read_more():
                        return None
        except TimeoutError:
            return None
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                seen = 0
                while not (end := request_head.end_of_head(self.buffer, seen)):
                    seen = len(self.buffer)
                    if not await self._read_more():
                        return None
        except TimeoutError as error:
            raise LateError(f"the request's head did not come within {HEAD_SECONDS:.0f} s") from error
        raw = bytes(self.buffer[:end])
        del self.buffer[:end]
        return request_head.parse(raw)

    def _begun(self) -> bool:
        """Whether there is more than the empty lines that may stand before a request (RFC 9112, 2.2)."""
        while self.buffer.startswith(b"\r\n"):
            del self.buffer[:2]
        return bool(self.buffer) and self.buffer != b"\r"

    async def _read_more(self) -> bool:
        data = await self.receive()
        self.buffer += data
        return bool(data)

    async def answer(self, status: int, reason: str, sentence: str) -> None:
        """An answer of our own, after which the connection ends. ``reason``: told in the status line, as far as it is
        ASCII; some clients show nothing else."""
        body = (sentence + "\n").encode()
        line = _NOT_A_REASON.sub("?", reason or HTTPStatus(status).phrase)[:MAX_REASON]
        head = (
            f"HTTP/1.1 {status} {line}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
            "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        await self.farewell(head.encode("ascii") + body)

    async def farewell(self, data: bytes) -> None:
        """Last words. What the client still sends is read for a moment: to close with bytes unread is to reset, and a
        reset can take the words with it."""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self.send(data)
                end_writing(self.sock)
                left = FAREWELL_BYTES
                while left > 0 and (data := await self.receive()):
                    left -= len(data)
