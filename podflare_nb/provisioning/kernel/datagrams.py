"""Datagrams between the supervisor and its templates and kernels: one JSON object each, with descriptors beside it.

Both ends of a SOCK_SEQPACKET unix socket use these two functions, so a message is never torn and descriptors arrive
with the message that names them. Received descriptors are close-on-exec from the first moment.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from typing import Any

MAX_BYTES = 1 << 20
MAX_DESCRIPTORS = 64


class TornDatagramError(Exception):
    """A datagram or its descriptors did not fit: the two ends disagree, and the channel cannot be trusted."""


def send(channel: socket.socket, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
    """Send one message. Raises OSError when the other end is gone or the message is too long for the socket."""
    payload = json.dumps(message).encode()
    if fds:
        socket.send_fds(channel, [payload], list(fds))
    else:
        channel.send(payload)


def receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Wait for one message; None at the end of the channel. Raises TornDatagramError."""
    payload, fds, flags, _ = socket.recv_fds(channel, MAX_BYTES, MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        raise TornDatagramError(f"a datagram over {MAX_BYTES} bytes or {MAX_DESCRIPTORS} descriptors")
    if not payload:
        return None
    message = json.loads(payload)
    if not isinstance(message, dict):
        raise TornDatagramError("a datagram that is no JSON object")
    return message, fds
