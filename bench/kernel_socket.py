"""A plain Jupyter kernel's websocket over a bare socket, in the binary protocol that JupyterLab speaks.

Jupyter's server leaves Nagle's algorithm on, so a client that acknowledges late, as every TCP does by default, may
wait 40 ms between two messages of one execution. Here each packet is acknowledged at once: the comparison is with
the kernel and its server, not with that accident. Our own server's clients get no such help.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import uuid
from typing import Any, Self

from .wire import TIMEOUT_SECONDS, WireError

PROTOCOL = "v1.kernel.websocket.jupyter.org"
BINARY, CLOSE, PING, PONG = 0x2, 0x8, 0x9, 0xA


class KernelSocket:
    """One websocket to one kernel; ``execute`` runs code to its end."""

    def __init__(self, host: str, port: int, kernel_id: str, token: str) -> None:
        self._socket = socket.create_connection((host, port), TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._session = uuid.uuid4().hex
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET /api/kernels/{kernel_id}/channels?session_id={self._session} HTTP/1.1\r\n"
            f"Host: {host}:{port}\r\nAuthorization: token {token}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: {PROTOCOL}\r\n\r\n".encode()
        )
        head = self._until(b"\r\n\r\n")
        if b" 101 " not in head.split(b"\r\n", 1)[0] or PROTOCOL.encode() not in head:
            raise WireError(f"no websocket in the binary protocol: {head[:300]!r}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()

    def prepared(self, code: str) -> tuple[str, bytes]:
        """Compose an execute_request, ahead of the clock: its id and its bytes. Good for one execution."""
        message_id = uuid.uuid4().hex
        header = {
            "msg_id": message_id, "msg_type": "execute_request", "session": self._session, "username": "bench",
            "date": "2026-01-01T00:00:00Z", "version": "5.4",
        }  # fmt: skip
        content = {
            "code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False,
            "stop_on_error": True,
        }  # fmt: skip
        return message_id, _frame(_packed("shell", header, {}, {}, content))

    def execute(self, message_id: str, request: bytes) -> str:
        """Run prepared code until its reply and the idle status have come; give what it printed."""
        self._socket.sendall(request)
        printed, replied, idle = "", False, False
        while not (replied and idle):
            header, parent, content = self._message()
            if parent.get("msg_id") != message_id:
                continue
            kind = header["msg_type"]
            if kind == "stream":
                printed += content["text"]
            elif kind == "execute_reply":
                replied = True
                if content["status"] != "ok":
                    raise WireError(f"the plain kernel failed: {content}")
            elif kind == "status":
                idle = content["execution_state"] == "idle"
        return printed

    def run(self, code: str) -> str:
        """Run code to its end; give what it printed."""
        return self.execute(*self.prepared(code))

    def _message(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Read the next kernel message: header, parent header, content."""
        while True:
            opcode, payload = self._next_frame()
            if opcode == CLOSE:
                raise WireError("the plain server closed the websocket")
            if opcode == PING:
                self._socket.sendall(_frame(payload, PONG))
            elif opcode == BINARY:
                count = struct.unpack_from("<Q", payload)[0]
                at = struct.unpack_from(f"<{count}Q", payload, 8)
                parts = [payload[at[i] : at[i + 1]] for i in range(1, count - 1)]
                return json.loads(parts[0]), json.loads(parts[1]), json.loads(parts[3])

    def _next_frame(self) -> tuple[int, bytes]:
        first, length = self._exactly(2)
        length &= 0x7F
        if length == 126:
            length = struct.unpack(">H", self._exactly(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", self._exactly(8))[0]
        return first & 0x0F, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._receive()
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            self._receive()
        taken, _, self._buffer = self._buffer.partition(end)
        return taken + end

    def _receive(self) -> None:
        # Not sticky: it is to be asked for again before each wait.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        chunk = self._socket.recv(1 << 18)
        if not chunk:
            raise WireError("the plain server closed the connection")
        self._buffer += chunk


def _packed(channel: str, *parts: dict[str, Any]) -> bytes:
    """Compose a message: the offsets of its parts, then channel, header, parent header, metadata and content."""
    encoded = [channel.encode(), *(json.dumps(part).encode() for part in parts)]
    count = len(encoded) + 1
    offsets = [8 * (count + 1)]
    for part in encoded:
        offsets.append(offsets[-1] + len(part))
    return b"".join([struct.pack(f"<{count + 1}Q", count, *offsets), *encoded])


def _frame(payload: bytes, opcode: int = BINARY) -> bytes:
    """Compose a client's frame. Its mask is zero, which the protocol allows and which costs nothing to apply."""
    length = len(payload)
    if length < 126:
        head = struct.pack(">BB", 0x80 | opcode, 0x80 | length)
    elif length < 1 << 16:
        head = struct.pack(">BBH", 0x80 | opcode, 0x80 | 126, length)
    else:
        head = struct.pack(">BBQ", 0x80 | opcode, 0x80 | 127, length)
    return head + b"\0\0\0\0" + payload
