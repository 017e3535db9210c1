"""Reads a netlink socket that somebody else has bound, a few messages a turn."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

MAX_A_TURN = 64
MAX_MESSAGE = 128 * 1024


class NetlinkListener:
    """``read`` gets each datagram, ``lost`` is told when the kernel had to drop some. Until ``close``."""

    def __init__(self, sock: socket.socket, read: Callable[[bytes], None], lost: Callable[[], None]) -> None:
        sock.settimeout(0)
        self._sock = sock
        self._read = read
        self._lost = lost
        asyncio.get_running_loop().add_reader(sock.fileno(), self._receive)

    def close(self) -> None:
        """Stop. Idempotent."""
        if self._sock.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._sock.fileno())
            self._sock.close()

    def _receive(self) -> None:
        for _ in range(MAX_A_TURN):
            try:
                data = self._sock.recv(MAX_MESSAGE)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    self.close()
                    return
                self._lost()
            else:
                self._read(data)
