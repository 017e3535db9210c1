"""What a sandbox serves at a port, for whoever ``port_access`` lets in: HTTP and websockets, streamed both ways.

A request's head is sent on before its body has come, and the answer before the body is over. The answer is relayed by
a task of its own, so that a program that answers while it reads (an echo) does not wait for us, who wait for it.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from http.client import responses
from typing import Any

import h11
from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.base.call_context import CallContext
from tornado import web
from tornado.iostream import StreamClosedError

from ..errors import ForbiddenError, PodflareError, UnauthenticatedError, UnreachableError
from . import port_access, port_headers, port_target, port_tunnel
from .port_access import Admitted
from .port_answers import PortAnswers
from .port_headers import Headers
from .port_target import Target
from .port_upstream import Upstream, in_time

MOST_BYTES = 1 << 50
"""Of a request's body: none of it is kept here, so the program may decide."""
WEBDAV = ("PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH", "QUERY")


class PortHandler(PortAnswers):
    """``/podflare/sandboxes/{id}/ports/{port}/...``."""

    SUPPORTED_METHODS = (*web.RequestHandler.SUPPORTED_METHODS, *WEBDAV)

    def initialize(self, **_: Any) -> None:
        """Begin with no program."""
        super().initialize()
        self._upstream: Upstream | None = None
        self._relaying: asyncio.Task[None] | None = None
        self._held = ExitStack()
        """What is given back at the end, whatever end that is."""

    async def admit(self) -> None:
        """Find out who asks, and begin to ask the program."""
        CallContext.set(CallContext.JUPYTER_HANDLER, self)
        self.current_user = self._jupyter_current_user = None
        self._target = target = port_target.parse(self._url)
        if not self.check_host():
            raise ForbiddenError(f"The host name {self.request.host!r} is not this machine's.")
        if "Service-Worker" in self.request.headers:
            raise ForbiddenError("Service workers are not for pages of a sandbox: they would outlive it.")
        try:
            admitted = await port_access.admit(self, target)
        except UnauthenticatedError:
            if target.kind is None and port_access.is_navigation(self):
                self.answer_with(self._ask_for_login)
                return
            raise
        if admitted.visit is not None or not target.path:
            self.answer_with(self._send_to_visit(target, admitted))
        elif self._is_preflight():
            self.answer_with(self._answer_preflight)
        else:
            await self._begin(target, admitted)

    async def _begin(self, target: Target, admitted: Admitted) -> None:
        """Connect, and send the head on."""
        self._admitted = admitted
        self._task = asyncio.current_task()
        connection: Any = self.request.connection
        connection.set_max_body_size(MOST_BYTES)
        ports = admitted.sandbox.ports
        self._held.enter_context(ports.place(admitted.allows, self._cut_off))
        try:
            self._upstream = await Upstream.over(await ports.connect(target.port))
            self._held.callback(self._upstream.close)
            await self._upstream.ask(str(self.request.method), target.path + target.query, self._for_program())
        except BaseException:
            self._held.close()
            raise
        admitted.sandbox.was_used()
        if not port_access.is_websocket(self):
            self._relaying = asyncio.create_task(self._relay(self._upstream, target, admitted))
            # Nobody may come to ask, where the client goes away in the middle of its body.
            self._relaying.add_done_callback(lambda task: task.cancelled() or task.exception())

    def _for_program(self) -> Headers:
        target, admitted, request = self._known()
        sent = [(name, value) for name, value in request.headers.get_all() if not self._is_our_secret(name, value)]
        forwarded = [
            ("X-Forwarded-For", str(request.remote_ip)),
            ("X-Forwarded-Host", request.host),
            ("X-Forwarded-Proto", request.protocol),
            ("X-Forwarded-Prefix", target.prefix),
        ]
        if port_access.is_websocket(self):
            forwarded += [("Connection", "Upgrade"), ("Upgrade", "websocket")]
        else:
            forwarded.append(("Connection", "close"))
        if "Transfer-Encoding" in request.headers:
            forwarded.append(("Transfer-Encoding", "chunked"))
        elif "Content-Length" in request.headers:
            forwarded.append(("Content-Length", str(self.declared_length)))
        return port_headers.to_program(
            sent,
            port=target.port,
            own_origin=port_access.own_origin(self),
            cookie=admitted.allows.jar.header_for(target.path),
            forwarded=forwarded,
        )

    def _is_our_secret(self, name: str, value: str) -> bool:
        """Whether a header says who is asking us, and not the program."""
        if name.lower() != "authorization":
            return False
        return any(port_access.is_ours(self, word) for word in value.split())

    def _known(self) -> tuple[Target, Admitted, Any]:
        assert self._target is not None  # noqa: S101 - called once both are known
        assert self._admitted is not None  # noqa: S101
        return self._target, self._admitted, self.request

    async def data_received(self, chunk: bytes) -> None:  # type: ignore[override] # Tornado awaits what it gets
        """Send a part of the body on; of a request that is refused, none is kept."""
        if self._upstream is not None:
            await self._upstream.send(chunk)

    async def _relay(self, upstream: Upstream, target: Target, admitted: Admitted) -> None:
        """Send the answer back as it comes; the method ends it."""
        answer = await in_time(upstream)
        if answer.status_code < 200:
            raise UnreachableError("What listens there changed the protocol without being asked.")
        self._set_head(answer, target, admitted)
        self.send_small_pieces()
        await self.flush()
        async for piece in upstream.body():
            if self.request.method != "HEAD":
                admitted.sandbox.was_used()
                await self.send(piece)

    def _set_head(self, answer: h11.Response | h11.InformationalResponse, target: Target, admitted: Admitted) -> None:
        said = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers]
        for name, value in said:
            if name == "set-cookie":
                admitted.allows.jar.take(value, target.path)
        kept = port_headers.to_browser(
            said, port=target.port, prefix=target.prefix, outside=self.request.host, path=target.path
        )
        if self._is_of_its_page():
            kept = port_headers.for_opaque_origin(kept)
        self._says_program = True
        self.set_status(answer.status_code, None if answer.status_code in responses else "Unknown")
        self.clear_header("Date")
        for name, value in kept:
            if not (name == "content-length" and answer.status_code in {204, 304}):
                self.add_header(name.title(), value)

    @allow_unauthenticated
    async def get(self, *_: str) -> None:
        """Let the relay come to its end; of a websocket, open the tunnel."""
        try:
            await self._exchange()
        finally:
            self._held.close()

    head = post = put = patch = delete = get
    options = get  # type: ignore[assignment] # Jupyter's is not a coroutine
    propfind = proppatch = mkcol = copy = move = lock = unlock = report = search = query = get

    async def _exchange(self) -> None:
        upstream, relaying = self._upstream, self._relaying
        assert upstream is not None  # noqa: S101 - ``admit`` answers otherwise where there is none
        try:
            await upstream.end()
            if relaying is None:
                await self._tunnel(upstream)
                return
            await relaying
        except (PodflareError, StreamClosedError):
            if self._headers_written:  # too late for a sentence: a cut is how a client learns that it is not all
                self._hang_up()
                return
            raise
        finally:
            if relaying is not None:
                relaying.cancel()
        if not self._finished:
            await web.RequestHandler.finish(self)

    async def _tunnel(self, upstream: Upstream) -> None:
        target, admitted, request = self._known()
        answer = await in_time(upstream)
        if answer.status_code != 101:
            await self._relay_refusal(upstream, answer)
            return
        accepted = port_headers.accept_of(request.headers.get("Sec-WebSocket-Key", ""))
        if (b"sec-websocket-accept", accepted.encode()) not in list(answer.headers):
            raise UnreachableError("What listens there did not accept the websocket as RFC 6455 demands.")
        self._set_head(answer, target, admitted)
        self.set_header("Connection", "Upgrade")
        self.set_header("Upgrade", "websocket")
        web.RequestHandler.finish(self)
        first, reader, writer = upstream.opened()
        await port_tunnel.relay(self.detach(), first, reader, writer, admitted.sandbox.was_used)

    async def _relay_refusal(self, upstream: Upstream, answer: h11.Response | h11.InformationalResponse) -> None:
        target, admitted, _ = self._known()
        self._set_head(answer, target, admitted)
        async for piece in upstream.body():
            await self.send(piece)
        await web.RequestHandler.finish(self)

    def _cut_off(self) -> None:
        """What let this request in is over."""
        self._held.close()
        self._hang_up()

    def on_connection_close(self) -> None:
        """Give up what was held for a client that went away, also in the middle of its body."""
        super().on_connection_close()
        self._held.close()
        if self._relaying is not None:
            self._relaying.cancel()
