"""A connection to a kernel is ready when both of its sockets are, in whichever order that comes about."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from jupyter_client.session import Session

from podflare_nb.sandboxes import zmtp
from podflare_nb.sandboxes.kernel_connection import KernelConnection

from .conftest import SECONDS

KEY = b"of-a-test"
PORTS = {"iopub_port": 1, "shell_port": 2}


class Listener:
    """Counts."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()

    def kernel_ready(self) -> None:
        assert not self.ready.is_set()
        self.ready.set()

    def kernel_said(self, message: object) -> None:
        """Nothing is asked."""

    kernel_replied = kernel_said


class Peer:
    """A kernel's end of one socket, which greets when it is told to."""

    def __init__(self, listening: socket.socket, kind: bytes) -> None:
        self.socket, _ = listening.accept()
        self.socket.settimeout(SECONDS)
        self._kind = kind
        self.received = b""

    def greet(self, *more: bytes) -> None:
        self.socket.sendall(zmtp.GREETING + zmtp.ready_command(self._kind) + b"".join(more))

    def receive(self, until: bytes) -> None:
        while until not in self.received:
            data = self.socket.recv(65536)
            assert data
            self.received += data


@contextmanager
def connecting(directory: Path, lost: list[str]) -> Iterator[tuple[KernelConnection, Listener, Peer, Peer]]:
    """A connection under way, and both peers, which have not greeted."""
    listener = Listener()
    with ExitStack() as stack:
        listening = []
        for port in PORTS.values():
            listening.append(stack.enter_context(socket.socket(socket.AF_UNIX)))
            listening[-1].bind(f"{directory}/k-{port}")
            listening[-1].listen()
        info = {"ip": f"{directory}/k", "key": KEY.decode(), **PORTS}
        connection = KernelConnection(info, listener, lost=lost.append, session_id="s", max_message_bytes=1 << 20)
        connection.connect()
        stack.callback(connection.close)
        iopub, shell = Peer(listening[0], b"XPUB"), Peer(listening[1], b"ROUTER")
        stack.enter_context(iopub.socket)
        stack.enter_context(shell.socket)
        yield connection, listener, iopub, shell


def welcome() -> bytes:
    session = Session(key=KEY)
    return zmtp.encode(session.serialize(session.msg("iopub_welcome", {"subscription": ""})))


async def test_nothing_is_sent_on_shell_before_its_handshake_is_over(tmp_path):
    lost: list[str] = []
    with connecting(tmp_path, lost) as (connection, listener, iopub, shell):
        iopub.greet(welcome())
        await asyncio.wait_for(asyncio.to_thread(iopub.receive, zmtp.SUBSCRIBE_ALL), SECONDS)
        assert connection._iopub.received > len(zmtp.GREETING)
        assert not connection.ready
        shell.greet()
        await asyncio.wait_for(listener.ready.wait(), SECONDS)
        connection.execute("1+1")
        await asyncio.wait_for(asyncio.to_thread(shell.receive, b"execute_request"), SECONDS)
        assert lost == []


async def test_it_is_ready_when_the_welcome_comes_last(tmp_path):
    with connecting(tmp_path, []) as (connection, listener, iopub, shell):
        shell.greet()
        iopub.greet()
        await asyncio.wait_for(asyncio.to_thread(iopub.receive, zmtp.SUBSCRIBE_ALL), SECONDS)
        assert not connection.ready
        iopub.socket.sendall(welcome())
        await asyncio.wait_for(listener.ready.wait(), SECONDS)
