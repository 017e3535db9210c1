"""The server name in a TLS client's first message (RFC 8446, 4.1.2; RFC 6066, 3). Pure.

The message may be split over records, and the records over packets. What an Encrypted Client Hello holds inside cannot
be seen; its outer name is what is compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

BEGINNING = bytes((22, 3))
"""Of a handshake record of SSL 3.0 or later."""
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


class ClientHelloReader:
    """``feed`` what the client sends until it is whole. Each byte is looked at once, however small the parts are."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._message = bytearray()
        self._count = 0

    def feed(self, data: bytes | bytearray) -> bytes | None:
        """The body of the ClientHello; None until enough was read. Raises NotTlsError."""
        self._rest += data
        self._count += len(data)
        while len(self._rest) >= RECORD_HEADER:
            length = int.from_bytes(self._rest[3:RECORD_HEADER], "big")
            if self._rest[0] != HANDSHAKE or not 0 < length <= MAX_RECORD:
                raise NotTlsError("its first TLS records are no handshake")
            if len(self._rest) < RECORD_HEADER + length:
                break
            self._message += self._rest[RECORD_HEADER : RECORD_HEADER + length]
            del self._rest[: RECORD_HEADER + length]
            if (body := self._body()) is not None:
                return body
        if self._count > MAX_BYTES:
            raise NotTlsError(f"its TLS ClientHello has more than {MAX_BYTES} bytes")
        return None

    def _body(self) -> bytes | None:
        if self._message[0] != CLIENT_HELLO:
            raise NotTlsError("its first TLS message is no ClientHello")
        size = int.from_bytes(self._message[1:HANDSHAKE_HEADER], "big")
        if len(self._message) < HANDSHAKE_HEADER + size:
            return None
        return bytes(self._message[HANDSHAKE_HEADER : HANDSHAKE_HEADER + size])


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
