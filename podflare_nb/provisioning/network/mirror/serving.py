"""HTTP/1.1 towards the sandboxes: one listener each, any number of requests on a connection, all of them read-only.

A client is not trusted: the sizes of what it sends, its connections and the time it takes to read are bounded. Of its
headers only the method's target, Accept, Range and If-Range count.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable
from dataclasses import dataclass

from tornado import httputil
from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream, StreamClosedError

from ....protocol.egress import Egress
from ..records import ConnectionRecord, Protocol, Records, Verdict
from .downloads import File
from .routes import ALLOWED_METHODS, RefusedError, Reply, Routes
from .settings import Site
from .upstream import UpstreamError

MAX_HEADER_BYTES = 32 << 10
MAX_BODY_BYTES = 64 << 10
IDLE_SECONDS = 60.0
WRITE_SECONDS = 60.0
MAX_CONNECTIONS = 128
MAX_REASON = 300
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
HEADER_BYTES = 300
"""What a request and an answer are reckoned to have beside their bodies."""


@dataclass(slots=True)
class Network:
    """A sandbox's network, as far as it matters here."""

    id: str
    egress: Egress


class Listener(HTTPServer, httputil.HTTPServerConnectionDelegate):
    """Serves one network on its listening socket."""

    def initialize(self, network: Network, routes: Routes, records: Records) -> None:  # type: ignore[override]  # as tornado's Configurable has it
        """Called by the constructor."""
        super().initialize(
            self, max_header_size=MAX_HEADER_BYTES, max_body_size=MAX_BODY_BYTES, idle_connection_timeout=IDLE_SECONDS,
            body_timeout=IDLE_SECONDS,
        )  # fmt: skip
        self.network = network
        self.origin = ""
        self._routes = routes
        self._records = records

    def listen_on(self, sock: socket.socket) -> None:
        """Serve on it; it is this listener's from now on."""
        address, port = sock.getsockname()[:2]
        self.origin = f"http://{address}:{port}"
        sock.setblocking(False)  # noqa: FBT003 - positional only
        self.add_sockets([sock])

    def handle_stream(self, stream: IOStream, address: tuple[object, ...]) -> None:
        """Take a connection, unless there are too many."""
        if len(self._connections) >= MAX_CONNECTIONS:
            stream.close()
            return
        super().handle_stream(stream, address)

    def start_request(
        self,
        server_conn: object,  # noqa: ARG002 - tornado's signature
        request_conn: httputil.HTTPConnection,
    ) -> httputil.HTTPMessageDelegate:
        """A request begins."""
        assert isinstance(request_conn, HTTP1Connection)  # noqa: S101 - tornado has no other
        return _Request(self, request_conn, self._routes, self._records)

    async def end(self) -> None:
        """Close the listening socket and every connection."""
        self.stop()
        for connection in list(self._connections):
            connection.stream.close()


class _Request(httputil.HTTPMessageDelegate):
    """One request and its answer."""

    def __init__(self, listener: Listener, connection: HTTP1Connection, routes: Routes, records: Records) -> None:
        self._listener = listener
        self._connection = connection
        self._routes = routes
        self._records = records
        self._start = httputil.RequestStartLine("", "", "")
        self._headers = httputil.HTTPHeaders()
        self._received = 0
        self._task: asyncio.Task[None] | None = None

    def headers_received(
        self, start_line: httputil.RequestStartLine | httputil.ResponseStartLine, headers: httputil.HTTPHeaders
    ) -> Awaitable[None] | None:
        """Keep what counts."""
        assert isinstance(start_line, httputil.RequestStartLine)  # noqa: S101 - a server's
        self._start, self._headers = start_line, headers
        return None

    def finish(self) -> None:
        """All of it is there: answer."""
        self._task = asyncio.create_task(self._answer())
        # From now on tornado tells the delegate of nothing: a client that goes away while nothing is sent to it, since
        # the index has stalled, would be noticed with the next byte alone.
        self._connection.set_close_callback(self.on_connection_close)

    def on_connection_close(self) -> None:
        """The client has gone."""
        if self._task is not None:
            self._task.cancel()

    async def _answer(self) -> None:
        network, site, refusal = self._listener.network, None, None
        try:
            try:
                reply = await self._reply()
                site = reply.site
                await self._send(reply)
            except RefusedError as error:
                site, refusal = error.site, str(error)
                await self._send_error(error.status, str(error))
            except UpstreamError as error:
                await self._send_error(error.status, str(error))
        except (StreamClosedError, TimeoutError):
            self._connection.close()
        finally:
            self._record(network, site, refusal)

    async def _reply(self) -> Reply:
        if self._start.method not in ALLOWED_METHODS:
            raise RefusedError("Packages can be read here (GET and HEAD), and nothing else.", 405)
        return await self._routes.reply(
            self._listener.network.egress, self._start.path, self._headers.get("Accept", ""), self._listener.origin
        )

    async def _send(self, reply: Reply) -> None:
        if isinstance(reply.body, bytes):
            await self._head(200, "OK", {"Content-Type": reply.content_type, "Content-Length": str(len(reply.body))})
            if self._start.method == "GET":
                await self._write(reply.body)
            self._connection.finish()
            return
        try:
            await self._send_file(reply, reply.body)
        finally:
            reply.body.close()

    async def _send_file(self, reply: Reply, file: File) -> None:
        headers = {"Content-Type": reply.content_type, "Accept-Ranges": "bytes"}
        if reply.etag is not None:
            headers["ETag"] = reply.etag
        start, end = 0, None
        status, reason = 200, "OK"
        if (asked := self._range(reply)) is not None:
            size = await file.whole()
            start, end = _part(size, *asked)
            if start >= end:
                return await self._send_error(
                    416, "That part is not in the file.", {"Content-Range": f"bytes */{size}"}
                )
            status, reason = 206, "Partial Content"
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        elif self._start.method == "HEAD":
            end = await file.whole()
        else:
            await file.begun()
            end = file.size
        if end is not None:
            headers["Content-Length"] = str(end - start)
        await self._head(status, reason, headers)
        if self._start.method == "GET" and not await self._copy(file, start, end):
            return None
        self._connection.finish()
        return None

    async def _copy(self, file: File, start: int, end: int | None) -> bool:
        """Send that part. False if it broke off: the connection is closed, so that nobody takes it for the whole."""
        try:
            async for part in file.read(start, end):
                await self._write(part)
        except UpstreamError:
            self._connection.close()
            return False
        return True

    def _range(self, reply: Reply) -> tuple[int | None, int | None] | None:
        """First and last byte that are asked for; first None: the last so many. None: all."""
        asked = RANGE.fullmatch(self._headers.get("Range", "").strip())
        condition = self._headers.get("If-Range")
        if asked is None or asked.group(0) == "bytes=-" or (condition is not None and condition != reply.etag):
            return None
        first, last = (int(text) if text else None for text in asked.groups())
        return first, last

    async def _send_error(self, status: int, sentence: str, more: dict[str, str] | None = None) -> None:
        """The sentence is the reason phrase, too: pip and curl show nothing else."""
        body = (sentence + "\n").encode()
        reason = "".join(c if " " <= c <= "~" else "?" for c in sentence)[:MAX_REASON]
        headers = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body)), **(more or {})}
        if status == 405:
            headers["Allow"] = ", ".join(ALLOWED_METHODS)
        await self._head(status, reason, headers)
        if self._start.method != "HEAD":
            await self._write(body)
        self._connection.finish()

    async def _head(self, status: int, reason: str, headers: dict[str, str]) -> None:
        line = httputil.ResponseStartLine("HTTP/1.1", status, reason)
        async with asyncio.timeout(WRITE_SECONDS):
            await self._connection.write_headers(line, httputil.HTTPHeaders(headers))

    async def _write(self, part: bytes) -> None:
        self._received += len(part)
        async with asyncio.timeout(WRITE_SECONDS):
            await self._connection.write(part)

    def _record(self, network: Network, site: Site | None, refusal: str | None) -> None:
        sent, received = HEADER_BYTES, HEADER_BYTES + self._received
        self._records.add_traffic(network.id, sent, received)
        if site is None:
            return
        protocol: Protocol = "https" if site.scheme == "https" else "http"
        verdict: Verdict = "allowed" if refusal is None else "refused"
        self._records.add(
            ConnectionRecord(network.id, verdict, protocol, str(site.host), site.port, sent, received, refusal or "")
        )


def _part(size: int, first: int | None, last: int | None) -> tuple[int, int]:
    """From which byte to before which (RFC 9110, 14.1.2)."""
    if first is None:
        return max(0, size - (last or 0)), size
    return first, size if last is None else min(size, last + 1)
