"""HTTP over a bare socket, kept open: as little as can stand between the clock and the service."""

from __future__ import annotations

import json
import selectors
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Self

TIMEOUT_SECONDS = 120.0
RECEIVE_BYTES = 1 << 18


class WireError(Exception):
    """The service refused, or said what no HTTP server says."""


class Answer:
    """Bytes of one HTTP answer as they arrive; ``body`` is good once ``done``."""

    def __init__(self) -> None:
        self._received = b""
        self._head_end = -1
        self._length: int | None = None
        self.status = 0
        self.done = False
        self.body = b""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; raises WireError when there are none."""
        if not chunk:
            raise WireError("the server closed the connection in the middle of an answer")
        self._received += chunk
        if self._head_end < 0:
            self._read_head()
        if self._head_end >= 0:
            self._read_body()

    def _read_head(self) -> None:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        self._head_end = end + 4
        head = self._received[:end].decode("latin-1").split("\r\n")
        self.status = int(head[0].split()[1])
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        if "content-length" in headers:
            self._length = int(headers["content-length"])
        elif headers.get("transfer-encoding", "").lower() != "chunked":
            self._length = 0

    def _read_body(self) -> None:
        if self._length is not None:
            self.body = self._received[self._head_end :]
            self.done = len(self.body) >= self._length
        elif self._received.endswith(b"0\r\n\r\n"):
            self.body = dechunked(self._received[self._head_end :])
            self.done = True


def dechunked(encoded: bytes) -> bytes:
    """Undo HTTP's chunked coding."""
    parts: list[bytes] = []
    rest = encoded
    while True:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return b"".join(parts)
        parts.append(rest[:length])
        rest = rest[length + 2 :]


class Wire:
    """One connection to one server."""

    def __init__(self, host: str, port: int, headers: Mapping[str, str]) -> None:
        self._socket = socket.create_connection((host, port), TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lines = [f"Host: {host}:{port}", *(f"{name}: {value}" for name, value in headers.items())]
        self._headers = "\r\n".join(lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def fileno(self) -> int:
        """For a selector."""
        return self._socket.fileno()

    def prepared(self, method: str, path: str, body: Any = None) -> bytes:
        """Compose a request, ahead of the clock."""
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\n{self._headers}\r\n"
        if content or method in {"POST", "PUT", "PATCH"}:
            head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        return head.encode() + b"\r\n" + content

    def send(self, request: bytes) -> None:
        """Send a prepared request."""
        self._socket.sendall(request)

    def receive(self) -> bytes:
        """Give what has arrived."""
        return self._socket.recv(RECEIVE_BYTES)

    def exchange(self, request: bytes) -> Answer:
        """Send a prepared request and read its whole answer; raises WireError on a refusal."""
        self.send(request)
        answer = Answer()
        while not answer.done:
            answer.feed(self.receive())
        if answer.status >= 400:
            raise WireError(f"{answer.status}: {answer.body.decode(errors='replace')[:500]}")
        return answer

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Exchange JSON; None for an empty answer."""
        answer = self.exchange(self.prepared(method, path, body))
        return json.loads(answer.body) if answer.body else None


def exchange_at_once(requests: Sequence[tuple[Wire, bytes]]) -> list[Answer]:
    """Send a request on each connection at the same time and wait for all the answers, refusals too."""
    answers = {wire.fileno(): Answer() for wire, _ in requests}
    with selectors.DefaultSelector() as selector:
        for wire, _ in requests:
            selector.register(wire, selectors.EVENT_READ, wire)
        for wire, request in requests:
            wire.send(request)
        waiting = len(requests)
        while waiting:
            ready = selector.select(TIMEOUT_SECONDS)
            if not ready:
                raise WireError(f"{waiting} of {len(requests)} requests were not answered in {TIMEOUT_SECONDS:g} s")
            for key, _ in ready:
                answer = answers[key.fd]
                answer.feed(key.data.receive())
                if answer.done:
                    selector.unregister(key.fileobj)
                    waiting -= 1
    return list(answers.values())
