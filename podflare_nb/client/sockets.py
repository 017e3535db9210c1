"""A transport to a service on this machine: HTTP/1.1 over sockets that are kept open. For the synchronous client.

Knows bytes and sockets; what they mean is ``http1``'s. Its counterpart for event loops is ``async_sockets``.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .http1 import LAST_CHUNK, AnswerReader, chunk_bytes, head_bytes, length_of
from .transport import CutError, NotSentError, SlowError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .transport import Request

RECEIVE_BYTES = 256 * 1024
MOST_IDLE = 64
IDLE_SECONDS = 60.0
"""How long a connection may lie unused and be used again."""


def address_of(url: str) -> tuple[str, int]:
    """Give host and port of a plain HTTP service."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 80


def is_stale(descriptor: int) -> bool:
    """Whether an idle connection has something to say: it can only be its end."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([descriptor], [], [], 0)[0])


class SocketTransport:
    """Sockets to one service. A request takes an idle one or opens another: there is no bound to wait at."""

    def __init__(self, url: str) -> None:
        self._address = address_of(url)
        self._lock = threading.Lock()
        self._idle: list[tuple[float, socket.socket]] = []

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._address} {len(self._idle)} idle>"

    def send(self, request: Request, pieces: Iterator[bytes] | None = None) -> SocketAnswer:
        """Send and wait for the answer's head."""
        link = self._take() or self._connect(request.timeouts.connect)
        answer = SocketAnswer(self, link, AnswerReader(request.method))
        try:
            link.settimeout(request.timeouts.write)
            _send(link, request, pieces)
            link.settimeout(request.timeouts.read)
            answer.begin()
        except BaseException:
            answer.close()
            raise
        return answer

    def keep(self, link: socket.socket) -> None:
        """Take back a connection that is good for another request."""
        with self._lock:
            if len(self._idle) < MOST_IDLE:
                self._idle.append((time.monotonic(), link))
                return
        link.close()

    def close(self) -> None:
        """Close what is idle."""
        with self._lock:
            links, self._idle = self._idle, []
        for _, link in links:
            link.close()

    def _take(self) -> socket.socket | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                since, link = self._idle.pop()
            if time.monotonic() - since < IDLE_SECONDS and not is_stale(link.fileno()):
                return link
            link.close()

    def _connect(self, seconds: float) -> socket.socket:
        try:
            link = socket.create_connection(self._address, seconds)
        except OSError as error:
            raise NotSentError(_said(error)) from error
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return link


class SocketAnswer:
    """An answer on a socket: transport.Answer."""

    def __init__(self, transport: SocketTransport, link: socket.socket, reader: AnswerReader) -> None:
        self._transport = transport
        self._link = link
        self._reader = reader
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

    def begin(self) -> None:
        """Wait for the head."""
        while not self._reader.status:
            self._first = self._receive()

    def chunks(self) -> Iterator[bytes]:
        """Give the body as it comes."""
        first, self._first = self._first, b""
        if first:
            yield first
        while not self._reader.done:
            if piece := self._receive():
                yield piece

    def read(self) -> bytes:
        """Give the whole body."""
        return b"".join(self.chunks())

    def close(self) -> None:
        """Give the connection back if the answer was read to its end."""
        if self._closed:
            return
        self._closed = True
        if self._reader.done and self._reader.reusable:
            self._transport.keep(self._link)
        else:
            self._link.close()

    def _receive(self) -> bytes:
        try:
            data = self._link.recv(RECEIVE_BYTES)
        except TimeoutError as error:
            raise SlowError(f"nothing came for {self._link.gettimeout():g} s") from error
        except OSError as error:
            raise CutError(_said(error)) from error
        if data:
            return self._reader.feed(data)
        self._reader.end()
        return b""


def _send(link: socket.socket, request: Request, pieces: Iterator[bytes] | None) -> None:
    head = head_bytes(request, in_pieces=pieces is not None)
    if pieces is None:
        _send_all(link, head + (request.content or b""))
        return
    _send_all(link, head)
    left = length_of(request)
    try:
        for piece in pieces:
            _send_all(link, chunk_bytes(piece) if left is None else piece[:left])
            left = left if left is None else max(0, left - len(piece))
        if left is None:
            _send_all(link, LAST_CHUNK)
    except CutError:
        return  # a service that refuses stops reading: what it says is the answer
    if left:
        raise CutError(f"the content ended {left} bytes before its length")


def _send_all(link: socket.socket, data: bytes) -> None:
    try:
        link.sendall(data)
    except TimeoutError as error:
        raise SlowError(f"nothing could be sent for {link.gettimeout():g} s") from error
    except OSError as error:
        raise CutError(_said(error)) from error


def _said(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
