"""The server name in a TLS client's first message (RFC 8446, 4.1.2; RFC 6066, 3). Pure.

The message may be split over records, and the records over packets. What an Encrypted Client Hello holds inside cannot
be seen; its outer name is what is compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

MAX_BYTES = 64 * 1024
RECORD_HEADER = 5
HANDSHAKE_HEADER = 4
HANDSHAKE = 22
CLIENT_HELLO = 1
SERVER_NAME = 0
HOST_NAME = 0
MAX_RECORD = 16_384 + 256


class NotTlsError(Exception):
    """It begins like TLS, but is no ClientHello that we can read; the sentence says why."""


@dataclass
class _Reader:
    data: bytes
    at: int = 0

    def take(self, count: int) -> bytes:
        part = self.data[self.at : self.at + count]
        if len(part) < count:
            raise NotTlsError("its TLS ClientHello is cut off")
        self.at += count
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> _Reader:
        """What follows a length of ``size`` bytes."""
        return _Reader(self.take(self.number(size)))

    @property
    def ended(self) -> bool:
        return self.at >= len(self.data)


def looks_like_tls(data: bytes | bytearray) -> bool:
    """Whether the first bytes of a connection are a handshake record of TLS (SSL 3.0 or later)."""
    return data[0] == HANDSHAKE and (len(data) < 2 or data[1] == 3)


def message(data: bytes | bytearray) -> bytes | None:
    """The body of the ClientHello; None until enough was read. Raises NotTlsError."""
    body, at = bytearray(), 0
    while len(data) - at >= RECORD_HEADER:
        kind, length = data[at], int.from_bytes(data[at + 3 : at + 5], "big")
        if kind != HANDSHAKE or not 0 < length <= MAX_RECORD:
            raise NotTlsError("its first TLS records are no handshake")
        body += data[at + RECORD_HEADER : at + RECORD_HEADER + length]
        at += RECORD_HEADER + length
        if body[0] != CLIENT_HELLO:
            raise NotTlsError("its first TLS message is no ClientHello")
        if len(body) >= HANDSHAKE_HEADER:
            size = int.from_bytes(body[1:4], "big")
            if len(body) >= HANDSHAKE_HEADER + size:
                return bytes(body[HANDSHAKE_HEADER : HANDSHAKE_HEADER + size])
            if size > MAX_BYTES:
                break
    if len(data) > MAX_BYTES or (len(body) >= HANDSHAKE_HEADER and int.from_bytes(body[1:4], "big") > MAX_BYTES):
        raise NotTlsError(f"its TLS ClientHello has more than {MAX_BYTES} bytes")
    return None


def server_name(body: bytes) -> str | None:
    """The name that a ClientHello asks for; None if it asks for none. Raises NotTlsError."""
    names = [name for kind, data in _extensions(body) if kind == SERVER_NAME for name in _names(data)]
    if len(names) > 1:
        raise NotTlsError("its TLS ClientHello has more than one server name")
    try:
        return names[0].decode("ascii") if names else None
    except UnicodeDecodeError as error:
        raise NotTlsError("its TLS server name is not ASCII") from error


def _extensions(body: bytes) -> Iterator[tuple[int, _Reader]]:
    hello = _Reader(body)
    hello.take(2 + 32)  # version, random
    hello.vector(1)  # session
    hello.vector(2)  # cipher suites
    hello.vector(1)  # compression
    if hello.ended:
        return
    extensions = hello.vector(2)
    while not extensions.ended:
        yield extensions.number(2), extensions.vector(2)


def _names(data: _Reader) -> Iterator[bytes]:
    names = data.vector(2)
    if names.ended:
        raise NotTlsError("its TLS server name is empty")
    while not names.ended:
        kind, name = names.number(1), names.vector(2)
        if kind != HOST_NAME:
            raise NotTlsError("its TLS server name is of an unknown kind")
        yield name.data
