"""Netlink messages (netlink(7), RFC 3549) and their acknowledgements: the little that ``links`` and ``nftables`` need.

A message is bytes with its sequence number still open; ``Netlink.ask`` numbers a batch, sends it at once and reads an
acknowledgement for each. Linux answers while it is sent: nothing here waits for anybody.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence
from typing import Self

from .namespaces import entered

HEADER = struct.Struct("=IHHII")
ATTRIBUTE = struct.Struct("=HH")
NESTED = 0x8000
REQUEST, ACK, EXCLUSIVE, CREATE, APPEND, REPLACE = 0x1, 0x4, 0x200, 0x400, 0x800, 0x100
DUMP = 0x300
ERROR, DONE = 2, 3
RECEIVE_BYTES = 1 << 16
SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 1, 10, 11
NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12


def attribute(kind: int, *values: bytes) -> bytes:
    """One attribute, padded; of several values, their sequence."""
    value = b"".join(values)
    size = ATTRIBUTE.size + len(value)
    return ATTRIBUTE.pack(size, kind) + value + bytes(-size % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | NESTED, *attributes)


def text(kind: int, value: str) -> bytes:
    """An attribute with a C string."""
    return attribute(kind, value.encode() + b"\0")


def be32(kind: int, value: int) -> bytes:
    """An attribute with a number in network order, as netfilter has them."""
    return attribute(kind, struct.pack(">I", value & 0xFFFFFFFF))


def u32(kind: int, value: int) -> bytes:
    """An attribute with a number in the machine's order, as rtnetlink has them."""
    return attribute(kind, struct.pack("=I", value))


def message(kind: int, flags: int, body: bytes) -> bytes:
    """One message, to be numbered when it is sent."""
    return HEADER.pack(HEADER.size + len(body), kind, flags | REQUEST, 0, 0) + body


class Netlink:
    """A netlink socket of one protocol in one network namespace. Close it, or use it as a context manager."""

    def __init__(self, protocol: int, namespace: int | None = None) -> None:
        """``namespace`` None: the caller's own. Raises OSError."""
        if namespace is None:
            self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        else:
            with entered(namespace):
                self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self.socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        self.socket.bind((0, 0))
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, messages: Sequence[bytes]) -> None:
        """Do all of these, in order. Raises the OSError of the first that failed, naming its place in the batch."""
        if not messages:
            return
        first = self._number + 1
        awaited = set()
        batch = []
        for number, each in enumerate(messages, first):
            size, kind, flags, _, _ = HEADER.unpack_from(each)
            if flags & ACK:
                awaited.add(number)
            batch.append(HEADER.pack(size, kind, flags, number, 0) + each[HEADER.size :])
        self._number += len(messages)
        self.socket.send(b"".join(batch))
        try:
            while awaited:
                awaited -= self._acknowledged(first)
        except OSError:
            self._drop_what_is_left()
            raise

    def _acknowledged(self, first: int) -> set[int]:
        """Numbers of the messages that are done, from ``first`` on. Raises OSError for one that failed."""
        done = set()
        for kind, number, body in messages_in(self.socket.recv(RECEIVE_BYTES)):
            if kind == ERROR:
                if error := -int.from_bytes(body[:4], "little", signed=True):
                    raise OSError(error, f"{os.strerror(error)} (netlink message {number - first})")
                done.add(number)
        return done

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """All that there is of this kind: the bodies of the answers. Raises OSError."""
        return self._answers(message(kind, DUMP, body))

    def get(self, kind: int, body: bytes) -> list[bytes]:
        """One thing that the body names. Raises OSError."""
        return self._answers(message(kind, ACK, body))

    def _answers(self, request: bytes) -> list[bytes]:
        self._number += 1
        size, kind, flags, _, _ = HEADER.unpack_from(request)
        self.socket.send(HEADER.pack(size, kind, flags, self._number, 0) + request[HEADER.size :])
        found: list[bytes] = []
        while True:
            for answer, number, part in messages_in(self.socket.recv(RECEIVE_BYTES)):
                if number != self._number:
                    continue
                if answer == ERROR and (error := -int.from_bytes(part[:4], "little", signed=True)):
                    raise OSError(error, os.strerror(error))
                if answer in {DONE, ERROR}:
                    return found
                found.append(part)

    def _drop_what_is_left(self) -> None:
        self.socket.setblocking(False)  # noqa: FBT003 - positional only
        try:
            while self.socket.recv(RECEIVE_BYTES):
                pass
        except BlockingIOError:
            pass
        finally:
            self.socket.setblocking(True)  # noqa: FBT003 - positional only

    def join(self, group: int) -> None:
        """Hear what is told to a multicast group."""
        self.socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def close(self) -> None:
        """Idempotent."""
        self.socket.close()


def messages_in(data: bytes) -> list[tuple[int, int, bytes]]:
    """Kind, sequence number and body of each message in what was received."""
    found, offset = [], 0
    while offset + HEADER.size <= len(data):
        size, kind, _, number, _ = HEADER.unpack_from(data, offset)
        if size < HEADER.size:
            break
        found.append((kind, number, data[offset + HEADER.size : offset + size]))
        offset += size + -size % 4
    return found


def attributes_in(data: bytes) -> dict[int, bytes]:
    """Attributes by kind; of one that is there twice, the last."""
    return dict(list_in(data))


def list_in(data: bytes) -> list[tuple[int, bytes]]:
    """Kind and value of each attribute, in order."""
    found, offset = [], 0
    while offset + ATTRIBUTE.size <= len(data):
        size, kind = ATTRIBUTE.unpack_from(data, offset)
        if size < ATTRIBUTE.size:
            break
        found.append((kind & ~NESTED, data[offset + ATTRIBUTE.size : offset + size]))
        offset += size + -size % 4
    return found
