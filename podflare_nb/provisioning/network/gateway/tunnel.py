"""What goes through CONNECT: its first bytes must agree with the host that was asked for, then it is carried as it is.

TLS must ask for that very name (for an address: for none), HTTP/1 in clear text names it in every request, HTTP/2 in
clear text is refused, since its requests name hosts where we do not look. Anything else goes where the policy let it,
whatever it says. What a TLS connection holds (its HTTP Host, an Encrypted Client Hello's inner name) is not seen.
The host's bytes go to the client all the while: in some protocols it speaks first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from ....protocol.egress import Address
from ....protocol.egress import host as read_host
from . import client_hello
from .client_connection import HEAD_SECONDS, ClientConnection
from .client_hello import NotTlsError
from .first_bytes import FirstBytes, Kind
from .pipes import Pipes
from .policy import RefusedError, shown
from .relay import end_writing, move
from .sandbox_network import Origin

TLS_ALERT_NAME = bytes((21, 3, 3, 0, 2, 2, 112))
"""Fatal, unrecognized_name."""
_HTTP2_SETTINGS = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_HTTP2_GO_AWAY = 7
_HTTP2_USE_HTTP1 = 13


class _PlainHttpError(Exception):
    """The client speaks HTTP in clear text; nothing of it was carried."""


class DisagreementError(RefusedError):
    """What the client says is not what it asked for. ``last_words``: that, in its protocol."""

    def __init__(self, origin: Origin, reason: str, last_words: bytes) -> None:
        super().__init__(f"{shown(origin.host, origin.port)} was asked for, but {reason}", "")
        self.last_words = last_words


async def both_ways(client: ClientConnection, origin: Origin, pipes: Pipes) -> None:
    """Carry bytes until both sides have ended. An end travels as an end; a break is an OSError, and the caller's."""
    await _together(_up(client, origin, pipes), _down(client, origin, pipes))


class Tunnel:
    """``run`` it once, after the client was told that it is connected."""

    def __init__(self, client: ClientConnection, origin: Origin, pipes: Pipes) -> None:
        self._client = client
        self._origin = origin
        self._pipes = pipes
        self._first = FirstBytes()

    async def run(self) -> bool:
        """Carry it to its end. True: it is HTTP in clear text, of which nothing was carried; the client's buffer has
        the beginning. Raises DisagreementError, OSError."""
        down = _down(self._client, self._origin, self._pipes)
        try:
            await _together(self._checked_up(), down)
        except _PlainHttpError:
            self._client.buffer[:] = self._first.held
            return True
        return False

    async def _checked_up(self) -> None:
        kind = await self._find_kind()
        if kind is Kind.TLS:
            self._origin.protocol = "https"
            self._check_server_name()
        elif kind is Kind.HTTP2:
            reason = "HTTP/2 in clear text is not carried"
            raise DisagreementError(self._origin, reason, _go_away(f"{reason}: use HTTP/1.1 or TLS"))
        elif kind is Kind.HTTP and not self._origin.received:
            raise _PlainHttpError
        elif kind in {Kind.HTTP, Kind.CUT}:
            raise DisagreementError(self._origin, "HTTP comes whole and before anything else", b"")
        await self._origin.send(bytes(self._first.held))
        await _up(self._client, self._origin, self._pipes)

    async def _find_kind(self) -> Kind:
        """Read until it is known; what cannot be held against anybody goes on meanwhile."""
        data = bytes(self._client.buffer)
        self._client.buffer.clear()
        while True:
            try:
                kind = self._first.feed(data)
            except NotTlsError as error:
                raise DisagreementError(self._origin, str(error), TLS_ALERT_NAME) from error
            if kind is not Kind.UNKNOWN:
                return kind
            await self._origin.send(self._first.take_passable())
            try:
                async with asyncio.timeout(HEAD_SECONDS if self._first.held else None):
                    data = await self._client.receive()
            except TimeoutError as error:
                raise DisagreementError(self._origin, "its first bytes did not come in time", b"") from error
            if not data:
                return self._first.kind_at_end()

    def _check_server_name(self) -> None:
        try:
            name = client_hello.server_name(self._first.hello or b"")
        except NotTlsError as error:
            raise DisagreementError(self._origin, str(error), TLS_ALERT_NAME) from error
        if not _is_name_of(name, self._origin.host):
            what = "no server name (SNI)" if name is None else f"the server name {name[:253]!r}"
            raise DisagreementError(self._origin, f"its TLS asks for {what}", TLS_ALERT_NAME)


def _is_name_of(name: str | None, host: str | Address) -> bool:
    """Whether a TLS client that wants this host asks for this name. None: for none, as clients of addresses do."""
    if name is None or not isinstance(host, str):
        return name is None and not isinstance(host, str)
    try:
        return read_host(name) == host
    except ValueError:
        return False


async def _up(client: ClientConnection, origin: Origin, pipes: Pipes) -> None:
    await move(client.sock, origin.sock, pipes, origin.count_sent)
    end_writing(origin.sock)


async def _down(client: ClientConnection, origin: Origin, pipes: Pipes) -> None:
    await move(origin.sock, client.sock, pipes, origin.count_received)
    end_writing(client.sock)


async def _together(up: Coroutine[Any, Any, None], down: Coroutine[Any, Any, None]) -> None:
    """Both to their ends; when one fails, the other is cancelled, and the failure is raised."""
    tasks = {asyncio.create_task(up), asyncio.create_task(down)}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


def _go_away(text: str) -> bytes:
    """An HTTP/2 server's beginning and end at once."""
    payload = (0).to_bytes(4, "big") + _HTTP2_USE_HTTP1.to_bytes(4, "big") + text.encode("ascii")
    return _HTTP2_SETTINGS + len(payload).to_bytes(3, "big") + bytes((_HTTP2_GO_AWAY, 0, 0, 0, 0, 0)) + payload
