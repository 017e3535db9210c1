"""The five sockets of a kernel, bound by the host before the kernel exists, in a directory that only the host sees.

Clients may connect and send at once. Nothing inside a jail sees a socket's path, so nothing there can put another one
in its place; a kernel that takes over from another one gets its paths by rename(2), and clients find it again.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from pathlib import Path
from typing import Any

CHANNELS = {"shell": 1, "iopub": 2, "stdin": 3, "control": 4, "hb": 5}
"""Jupyter's channels and the ports under which their ipc sockets stand."""
BACKLOG = 128


class KernelSockets:
    """A directory of sockets, and the key of the messages that go through them."""

    def __init__(self, directory: Path, key: str | None = None) -> None:
        self.directory = directory
        self.key = key or secrets.token_hex(32)

    def listen(self) -> list[int]:
        """Bind and listen: a descriptor for each channel."""
        os.mkdir(self.directory, 0o700)  # noqa: PTH102 - thirty-two at once, in a fork
        fds = []
        for port in CHANNELS.values():
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            sock.bind(f"{self.directory}/s-{port}")
            sock.listen(BACKLOG)
            fds.append(sock.detach())
        return fds

    def connection_info(self) -> dict[str, Any]:
        """As in a Jupyter connection file."""
        ports = {f"{channel}_port": port for channel, port in CHANNELS.items()}
        signing = {"key": self.key, "signature_scheme": "hmac-sha256"}
        return {"transport": "ipc", "ip": f"{self.directory}/s", **signing, **ports}

    def take_over(self, other: KernelSockets) -> None:
        """Who listens here is found where ``other`` was from now on: its paths and key are ours, and ours its."""
        for port in CHANNELS.values():
            os.rename(f"{self.directory}/s-{port}", f"{other.directory}/s-{port}")  # noqa: PTH104 - see listen
        self.directory, other.directory = other.directory, self.directory
        self.key, other.key = other.key, self.key

    def remove(self) -> None:
        """Idempotent."""
        shutil.rmtree(self.directory, ignore_errors=True)
