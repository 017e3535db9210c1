"""The HTTP proxy for one client's connection: CONNECT, and requests with an absolute http:// URI.

Each request is checked against the policy as it is then. What it may not is said in the answer, at once.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import h11

from ....protocol.egress import Address
from ..records import Protocol
from . import dialing
from .client_connection import HEAD_SECONDS, ClientConnection, LateError
from .dialing import UnreachableError
from .exchange import BadResponseError, Exchange, Outcome
from .policy import RefusedError, shown
from .relay import abort
from .request_head import HTTP_PORT, Authority, BadRequestError, RequestHead
from .resolver import UnresolvedError
from .sandbox_network import Origin, SandboxNetwork
from .tunnel import DisagreementError, Tunnel, both_ways

IDLE_SECONDS = 75.0
"""Between two requests."""
_ANSWERED = (
    BadRequestError, h11.RemoteProtocolError, LateError, RefusedError, UnresolvedError, UnreachableError,
    BadResponseError,
)  # fmt: skip
CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class ProxyConnection:
    """``serve`` a client until it or the policy ends it. The socket stays the caller's to close."""

    def __init__(self, network: SandboxNetwork, client: ClientConnection) -> None:
        self._network = network
        self._client = client
        self._origin: Origin | None = None

    async def serve(self) -> None:
        """Answer requests until the connection ends, however it does."""
        try:
            await self._serve()
        except OSError:  # what broke on one side is broken on the other
            abort(self._client.sock)
            self._abort_origin()
        except asyncio.CancelledError:
            self._abort_origin()
            raise
        finally:
            self._leave_origin()

    async def _serve(self) -> None:
        idle = HEAD_SECONDS
        try:
            while (head := await self._client.read_head(idle)) is not None:
                if head.method == "CONNECT":
                    return await self._connect(head)
                if not await self._forward(head):
                    return None
                idle = IDLE_SECONDS
        except _ANSWERED as error:
            if isinstance(error, BadResponseError) and error.begun:
                abort(self._client.sock)  # what has no length would look whole
            else:
                self._leave_origin()
                await self._network.told()
                await self._client.answer(*_answer_to(error))
        return None

    async def _connect(self, head: RequestHead) -> None:
        host, port = head.target_host()
        self._agree("tcp", (host, port), head.host(port), "CONNECT's target")
        origin = await self._reach(host, port, "tcp")
        with self._network.linked(host, port):
            await self._client.send(CONNECTED)
            try:
                if await Tunnel(self._client, origin, self._network.around.pipes).run():
                    origin.protocol = "http"
                    await self._inside(origin)
            except DisagreementError as error:
                origin.reason = error.reason
                self._leave_origin()
                await self._network.told()
                await self._client.farewell(error.last_words)

    async def _inside(self, origin: Origin) -> None:
        """HTTP in clear text within a tunnel: each of its requests is for the tunnel's host."""
        asked = (origin.host, origin.port)
        while (head := await self._client.read_head(IDLE_SECONDS)) is not None:
            try:
                uri = head.target_uri()
                if head.method == "CONNECT":
                    raise BadRequestError("a tunnel within a tunnel is not carried")
                if uri is not None:
                    _agree(asked, uri[0], "the tunnel's host", "the request's target")
                _agree(asked, head.host(origin.port), "the tunnel's host")
            except RefusedError as error:
                origin.reason = error.reason
                raise
            if not await self._exchange(head, origin, uri[1] if uri else head.target):
                return

    async def _forward(self, head: RequestHead) -> bool:
        """Whether the client can send another request."""
        uri = head.target_uri()
        if uri is None:
            raise BadRequestError("this is an HTTP proxy: it takes CONNECT host:port and http:// URIs")
        (host, port), target = uri
        self._agree("http", (host, port), head.host(HTTP_PORT), "the request's target")
        origin = await self._reach(host, port, "http")
        with self._network.linked(host, port):
            return await self._exchange(head, origin, target)

    async def _exchange(self, head: RequestHead, origin: Origin, target: str) -> bool:
        pipes = self._network.around.pipes
        outcome = await Exchange(self._client, origin, head, pipes).run(target, _host_header(origin))
        if outcome is Outcome.SWITCHED:
            await both_ways(self._client, origin, pipes)
        return outcome is Outcome.NEXT

    async def _reach(self, host: str | Address, port: int, protocol: Protocol) -> Origin:
        """A connection to that: the one of the request before, if it is the same host, or a new one.

        Of the one before the policy is still to be asked, by ``linked``.
        """
        if self._origin is not None:
            if (self._origin.host, self._origin.port) == (host, port) and _is_quiet(self._origin):
                return self._origin
            self._leave_origin()
        try:
            addresses = await self._network.addresses(host, port)
        except RefusedError as error:
            self._network.refused(protocol, str(host), port, error)
            raise
        try:
            sock, _ = await dialing.connect(addresses, port)
        except UnreachableError as error:
            raise UnreachableError(f"{shown(host, port)} cannot be reached: {error}", late=error.late) from error
        self._origin = Origin(self._network, sock, host, port)
        self._origin.protocol = protocol
        return self._origin

    def _agree(self, protocol: Protocol, asked: Authority, named: Authority | None, what: str) -> None:
        try:
            _agree(asked, named, what)
        except RefusedError as error:
            self._network.refused(protocol, str(asked[0]), asked[1], error)
            raise

    def _abort_origin(self) -> None:
        if self._origin is not None:
            abort(self._origin.sock)

    def _leave_origin(self) -> None:
        if self._origin is not None:
            self._origin.close()
            self._origin = None


def _answer_to(error: Exception) -> tuple[int, str, str]:
    """Status, reason and sentence for an error of ``_ANSWERED``."""
    if isinstance(error, RefusedError):
        return 403, error.reason, error.sentence
    if isinstance(error, LateError):
        return 408, str(error), f"{error}."
    if isinstance(error, UnresolvedError | UnreachableError | BadResponseError):
        return 504 if getattr(error, "late", False) else 502, str(error), f"{error}."
    return 400, f"Bad request: {error}", f"Bad request: {error}."


def _is_quiet(origin: Origin) -> bool:
    """Whether the connection lives and has said nothing unasked."""
    with suppress(BlockingIOError, OSError):
        origin.sock.recv(1)
        return False
    return True


def _agree(asked: Authority, named: Authority | None, what: str, by: str = "the Host header") -> None:
    """Raise RefusedError unless both are the same. None: it was not named."""
    if named is not None and named != asked:
        raise RefusedError(f"{by} names {shown(*named)}, but {what} is {shown(*asked)}", "They must agree.")


def _host_header(origin: Origin) -> str:
    if origin.port == HTTP_PORT:
        return shown(origin.host, origin.port).rpartition(":")[0]
    return shown(origin.host, origin.port)
