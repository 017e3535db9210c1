"""DNS over UDP and TCP (RFC 1035, 4.2) on a sandbox's listeners."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

from .nameserver import NameServer
from .sandbox_network import SandboxNetwork

MAX_QUERIES = 64
MAX_A_TURN = 32
TCP_IDLE_SECONDS = 10.0
MAX_DATAGRAM = 4096
HEADER_BYTES = 12


class UdpListener:
    """Answers until ``close``. ``MAX_QUERIES`` are worked on at once; more are told to come later (SERVFAIL)."""

    def __init__(self, sock: socket.socket, network: SandboxNetwork) -> None:
        sock.settimeout(0)
        self._sock = sock
        self._names = NameServer(network)
        self._tasks: set[asyncio.Task[None]] = set()
        asyncio.get_running_loop().add_reader(sock.fileno(), self._read)

    async def close(self) -> None:
        """Stop."""
        asyncio.get_running_loop().remove_reader(self._sock.fileno())
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._sock.close()

    def _read(self) -> None:
        for _ in range(MAX_A_TURN):
            try:
                wire, sender = self._sock.recvfrom(MAX_DATAGRAM)
            except OSError:
                return
            if len(self._tasks) >= MAX_QUERIES:
                self._put_off(wire, sender)
                continue
            task = asyncio.create_task(self._answer(wire, sender))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, wire: bytes, sender: tuple[str, int]) -> None:
        answer = await self._names.answer(wire, udp=True)
        if answer is not None:
            self._send(answer, sender)

    def _put_off(self, wire: bytes, sender: tuple[str, int]) -> None:
        """The query itself, made an answer: QR, RA and SERVFAIL."""
        if len(wire) > HEADER_BYTES and not wire[2] & 0x80:
            self._send(wire[:2] + bytes((wire[2] | 0x80, 0x82)) + wire[4:], sender)

    def _send(self, wire: bytes, sender: tuple[str, int]) -> None:
        with suppress(OSError):  # a full buffer loses it, as networks do
            self._sock.sendto(wire, sender)


async def serve_tcp(sock: socket.socket, network: SandboxNetwork) -> None:
    """Answer the queries of one TCP connection, one after the other. Ends on anything that is no query."""
    loop = asyncio.get_running_loop()
    names = NameServer(network)
    with suppress(OSError, TimeoutError, EOFError):
        while True:
            async with asyncio.timeout(TCP_IDLE_SECONDS):
                wire = await _exactly(sock, int.from_bytes(await _exactly(sock, 2), "big"))
            answer = await names.answer(wire, udp=False)
            if answer is None:
                return
            async with asyncio.timeout(TCP_IDLE_SECONDS):
                await loop.sock_sendall(sock, len(answer).to_bytes(2, "big") + answer)


async def _exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = await asyncio.get_running_loop().sock_recv(sock, count - len(data))
        if not part:
            raise EOFError
        data += part
    return data
