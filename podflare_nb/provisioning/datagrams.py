"""JSON datagrams with file descriptors over a ``SOCK_SEQPACKET`` unix socket (unix(7)).

One datagram is one message, so that nothing has to be framed and a descriptor cannot be separated from the
sentence that explains it. Both ends of supervisor and client, supervisor and template, and supervisor and jail
speak this. A peer inside a jail is not trusted: sizes and counts are bounded here, meaning is checked by callers.
"""

from __future__ import annotations

import array
import json
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MAX_BYTES = 128 * 1024
MAX_FDS = 64
UCRED = struct.Struct("3i")
# One end is in a process that runs a user's code, which may put something else in their places.
_send_fds, _encode, _decode, _close = socket.send_fds, json.JSONEncoder().encode, json.JSONDecoder().decode, os.close


class PeerClosedError(Exception):
    """The other end closed, or died."""


class DescriptorsLostError(ValueError):
    """A message came without all of its descriptors: this process has no room for more (RLIMIT_NOFILE)."""

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__("there is no room for more open files (RLIMIT_NOFILE)")
        self.body = body


@dataclass(frozen=True, slots=True)
class Datagram:
    """One message. ``fds`` belong to the receiver, who closes them. ``pid`` is the sender's, as the kernel vouches
    for it, where ``SO_PASSCRED`` is set on the receiving socket; 0 otherwise."""

    body: dict[str, Any]
    fds: list[int]
    pid: int = 0

    def close_fds(self) -> None:
        """Close what came with it."""
        while self.fds:
            _close(self.fds.pop())


def pair() -> tuple[socket.socket, socket.socket]:
    """A connected pair of sockets."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(sock: socket.socket, body: dict[str, Any], fds: Sequence[int] = ()) -> None:
    """Send one message. Raises PeerClosedError; BlockingIOError if the socket is non-blocking and full."""
    try:
        data = _encode(body).encode()
        if fds:
            _send_fds(sock, [data], list(fds), socket.MSG_NOSIGNAL)
        else:  # Python tells audit hooks nothing of this: none of the user's can keep a kernel from answering
            sock.send(data, socket.MSG_NOSIGNAL)
    except (BrokenPipeError, ConnectionResetError, ConnectionRefusedError) as error:
        raise PeerClosedError from error


def receive(sock: socket.socket) -> Datagram:
    """Receive one message. Raises PeerClosedError at the end, ValueError if it is too large or not an object, of that
    DescriptorsLostError."""
    space = socket.CMSG_SPACE(MAX_FDS * 4) + socket.CMSG_SPACE(UCRED.size)
    try:
        data, ancillary, flags, _ = sock.recvmsg(MAX_BYTES, space, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError as error:
        raise PeerClosedError from error
    fds, pid = array.array("i"), 0
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
        elif level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            pid = UCRED.unpack(payload)[0]
    if not data:
        raise PeerClosedError
    datagram = Datagram({}, list(fds), pid)
    if flags & socket.MSG_TRUNC:
        datagram.close_fds()
        raise ValueError(f"a message of more than {MAX_BYTES} bytes was refused")
    try:
        body = _decode(data.decode())
    except ValueError:
        datagram.close_fds()
        raise
    if not isinstance(body, dict):
        datagram.close_fds()
        raise ValueError("a message is a JSON object")  # noqa: TRY004 - the peer's mistake, not a caller's type
    datagram.body.update(body)
    if flags & socket.MSG_CTRUNC:
        datagram.close_fds()
        raise DescriptorsLostError(body)
    return datagram
