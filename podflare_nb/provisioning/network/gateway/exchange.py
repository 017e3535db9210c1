"""One HTTP/1 request and its response, between a client and the host it may speak to.

The request is written anew from what was read of it (h11), so that the host sees the very request that was checked.
Bodies of known length come back by splice(2).

A client that left while the host is silent ends it: at once before the answer has begun (a "100 Continue", which every
client of HTTP/1.1 skips, asks one that has ended whether it still reads), later when TCP's keep-alive finds nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum
from typing import Any

import h11

from . import departure
from .client_connection import ClientConnection
from .pipes import Pipes
from .relay import move
from .request_head import MAX_HEAD_BYTES, RequestHead
from .sandbox_network import Origin

RESPONSE_SECONDS = 300.0
"""How long a host may think, or pause."""
HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
     b"trailer", b"upgrade", b"http2-settings"}
)  # fmt: skip
NEVER_DROPPED = frozenset({b"host", b"content-length", b"transfer-encoding"})
"""What a Connection header cannot name away: the framing, and for whom it is."""
UPGRADES_REFUSED = ("h2c", "tls/")
"""Beginnings of protocols in which requests for other hosts could follow, unseen; such an offer is not passed on."""


class Outcome(Enum):
    """``NEXT``: both connections can serve another request; ``END``: not; ``SWITCHED``: they speak another protocol."""

    NEXT = "next"
    END = "end"
    SWITCHED = "switched"


class BadResponseError(Exception):
    """The host's answer is no HTTP, or did not come. ``begun``: whether some of it was passed on already."""

    def __init__(self, sentence: str, *, begun: bool, late: bool = False) -> None:
        super().__init__(sentence)
        self.begun = begun
        self.late = late


class Exchange:
    """``run`` it once."""

    def __init__(self, client: ClientConnection, origin: Origin, head: RequestHead, pipes: Pipes) -> None:
        self._client = client
        self._origin = origin
        self._head = head
        self._pipes = pipes
        self._below = h11.Connection(h11.SERVER, max_incomplete_event_size=2 * MAX_HEAD_BYTES)
        self._above = h11.Connection(h11.CLIENT, max_incomplete_event_size=2 * MAX_HEAD_BYTES)
        self._begun = False
        self._client_keeps = head.version == "1.1" and "close" not in head.tokens(b"connection")

    async def run(self, target: str, host: str) -> Outcome:
        """Send the request with this target and Host, and bring the response back.

        Raises BadResponseError, h11.RemoteProtocolError for a body that is malformed, OSError.
        """
        self._below.receive_data(self._head.raw + bytes(self._client.buffer))
        self._client.buffer.clear()
        self._below.next_event()
        request = h11.Request(method=self._head.method, target=target, headers=self._request_headers(host))
        try:
            await self._origin.send(self._above.send(request) or b"")
        except OSError as error:
            raise BadResponseError(f"the host broke the connection: {error}", begun=False) from error
        upload, download = asyncio.create_task(self._upload()), asyncio.create_task(self._download())
        gone = asyncio.create_task(departure.gone(self._client.sock, self._ask_if_it_reads))
        try:
            await asyncio.wait({upload, download, gone}, return_when=asyncio.FIRST_COMPLETED)
            if upload.done() and upload.exception():
                upload.result()
            await asyncio.wait({download, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not download.done():
                raise ConnectionResetError("the client left before the end of the answer")
            outcome = download.result()
        finally:
            uploaded = upload.done()
            for task in (upload, download, gone):
                task.cancel()
            await asyncio.gather(upload, download, gone, return_exceptions=True)
        if outcome is not Outcome.SWITCHED:
            self._client.buffer += self._below.trailing_data[0]
        return outcome if uploaded or outcome is Outcome.SWITCHED else Outcome.END

    def _request_headers(self, host: str) -> list[tuple[bytes, bytes]]:
        headers = [(b"Host", host.encode("ascii")), *_end_to_end(self._head.headers)]
        offers = [offer for offer in self._head.tokens(b"upgrade") if not offer.startswith(UPGRADES_REFUSED)]
        if offers and "upgrade" in self._head.tokens(b"connection"):
            headers += [(b"Connection", b"upgrade"), (b"Upgrade", ", ".join(offers).encode("latin-1"))]
        return headers

    def _ask_if_it_reads(self) -> None:
        """The client has ended, or half of it: one that has closed answers with a reset."""
        if self._begun or self._head.version != "1.1":
            return
        question = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
        with suppress(OSError, h11.LocalProtocolError):
            self._client.sock.send(self._below.send(question) or b"")

    async def _upload(self) -> None:
        while True:
            event = self._below.next_event()
            if event is h11.NEED_DATA:
                self._below.receive_data(await self._client.receive())
                continue
            if isinstance(event, h11.ConnectionClosed):
                raise ConnectionResetError("the client ended within its request")
            ended = isinstance(event, h11.EndOfMessage)
            try:
                data = self._above.send(h11.EndOfMessage() if ended else event)  # type: ignore[arg-type]  # Data
                await self._origin.send(data or b"")
            except OSError:
                return  # the host reads no more; its answer may be there
            if ended:
                return

    async def _download(self) -> Outcome:
        while True:
            event = await self._next_from_origin()
            if isinstance(event, h11.InformationalResponse):
                if event.status_code == 101:
                    return await self._switch(event)
                if self._head.version == "1.1":
                    await self._client.send(self._below.send(event) or b"")
            elif isinstance(event, h11.Response):
                return await self._respond(event)
            else:
                raise BadResponseError("the host ended without an answer", begun=False)

    async def _next_from_origin(self) -> Any:
        """The next event of the response. Raises BadResponseError."""
        try:
            while (event := self._above.next_event()) is h11.NEED_DATA:
                async with asyncio.timeout(RESPONSE_SECONDS):
                    self._above.receive_data(await self._origin.receive())
        except h11.RemoteProtocolError as error:
            raise BadResponseError(f"the host's answer is not valid HTTP: {error}", begun=self._begun) from error
        except TimeoutError as error:
            sentence = f"the host said nothing for {RESPONSE_SECONDS:.0f} s"
            raise BadResponseError(sentence, begun=self._begun, late=True) from error
        except OSError as error:
            raise BadResponseError(f"the host broke the connection: {error}", begun=self._begun) from error
        return event

    async def _respond(self, response: h11.Response) -> Outcome:
        fields = response.headers.raw_items()
        headers = _end_to_end(fields)
        if not self._client_keeps:
            headers.append((b"Connection", b"close"))
        self._begun = True
        head = self._below.send(
            h11.Response(status_code=response.status_code, headers=headers, reason=response.reason)
        ) or b""  # fmt: skip
        length = self._body_length(response, fields)
        if length is None:
            await self._client.send(head)
            framed = await self._pass_body()
        else:
            framed = await self._splice_body(head, length)
        keeps = response.http_version == b"1.1" and b"close" not in _connection_tokens(fields)
        return Outcome.NEXT if framed and keeps and self._client_keeps else Outcome.END

    def _body_length(self, response: h11.Response, fields: list[tuple[bytes, bytes]]) -> int | None:
        """Of a body that is told by Content-Length alone; None if h11 has to find where it ends."""
        names = {name.lower(): value for name, value in fields}
        if self._head.method == "HEAD" or response.status_code in {204, 304} or b"transfer-encoding" in names:
            return None
        return int(names[b"content-length"]) if b"content-length" in names else None

    async def _pass_body(self) -> bool:
        """Whether its end was told otherwise than by the connection's end, and nothing came after it."""
        while True:
            event = await self._next_from_origin()
            if isinstance(event, h11.EndOfMessage):
                await self._client.send(self._below.send(h11.EndOfMessage()) or b"")
                ended = self._above.their_state is h11.DONE and self._below.our_state is h11.DONE
                return ended and not self._above.trailing_data[0]
            await self._client.send(self._below.send(event) or b"")

    async def _splice_body(self, head: bytes, length: int) -> bool:
        """Whether the host sent as much as it said, and no more."""
        ahead = self._above.trailing_data[0]
        await self._client.send(head + ahead[:length])
        left = length - len(ahead)
        if (
            left > 0
            and await move(self._origin.sock, self._client.sock, self._pipes, self._origin.count_received, left) < left
        ):
            raise BadResponseError("the host ended within its answer", begun=True)
        return left >= 0

    async def _switch(self, event: h11.InformationalResponse) -> Outcome:
        self._begun = True
        await self._client.send((self._below.send(event) or b"") + self._above.trailing_data[0])
        await self._origin.send(self._below.trailing_data[0])
        return Outcome.SWITCHED


def _connection_tokens(headers: Sequence[tuple[bytes, bytes]]) -> set[bytes]:
    values = [value for name, value in headers if name.lower() == b"connection"]
    return {token.strip().lower() for value in values for token in value.split(b",")}


def _end_to_end(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Without those that are between two neighbours, and without Host, which is written anew."""
    dropped = (HOP_BY_HOP | _connection_tokens(headers)) - NEVER_DROPPED | {b"host"}
    return [(name, value) for name, value in headers if name.lower() not in dropped]
