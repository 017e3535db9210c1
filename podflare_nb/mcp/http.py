"""MCP sessions over streamable HTTP: which there are, whose they are, and when they end.

Each has a server of its own on the official package's transport, which speaks HTTP as an ASGI application. A
session belongs to the key that began it: to any other key it is not there. It ends when its client says so
(DELETE), when nobody has used it for IDLE_SECONDS, or with the service, and its sandboxes end with it. Who may
call at all is decided above, in ``handlers/mcp.py``, before anything here is asked.

The protocol's versions without sessions (2026-07-28) are refused with the list of those that have them, to which
clients then fall back: a session is what keeps a sandbox.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import anyio
import mcp_types as types
from mcp.server.streamable_http import MCP_SESSION_ID_HEADER, StreamableHTTPServerTransport
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from podflare_nb.client import AsyncClient

from .large_answers import LargeAsJson
from .server import make_server
from .session import CLOSING_SECONDS

IDLE_SECONDS = 1800.0
"""After which a session that has no request under way, and no stream open, ends."""

MOST_SESSIONS = 100
"""Of one tenant at a time."""

_ERROR = b'"error":{"code":'
"""In the answer to an initialize that was refused; its HTTP status is 200."""

_WATCHER = "_shutdown_watcher"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a session is: ``tenant`` for its quota, ``credential`` for who may go on with it."""

    tenant: str
    credential: str


@dataclass(frozen=True, slots=True)
class _Session:
    owner: Owner
    transport: StreamableHTTPServerTransport
    serving: asyncio.Task[None]


class HttpSessions:
    """The sessions by id. ``aclose`` ends them all; it is idempotent."""

    def __init__(self, *, most: int = MOST_SESSIONS, idle_seconds: float = IDLE_SECONDS) -> None:
        self._most = most
        self._idle_seconds = idle_seconds
        self._sessions: dict[str, _Session] = {}
        self._closed = False

    def __repr__(self) -> str:
        return f"<HttpSessions {len(self._sessions)}{' closed' if self._closed else ''}>"

    async def answer(
        self, owner: Owner, connect: Callable[[], AsyncClient], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer one request. ``connect`` makes the client of a session that this request may begin."""
        if scope["method"] == "POST":
            send = LargeAsJson(send)
        headers = Headers(scope=scope)
        version = headers.get(MCP_PROTOCOL_VERSION_HEADER)
        session_id = headers.get(MCP_SESSION_ID_HEADER)
        if version is not None and version not in HANDSHAKE_PROTOCOL_VERSIONS:
            await _refuse_version(version, scope, receive, send)
        elif session_id is not None:
            await self._go_on(session_id, owner, scope, receive, send)
        elif scope["method"] != "POST":
            await _refuse(400, "Bad Request: a session begins with a POST of initialize.", scope, receive, send)
        elif self._closed:
            await _refuse(503, "The service is ending.", scope, receive, send)
        elif sum(one.owner.tenant == owner.tenant for one in self._sessions.values()) >= self._most:
            await _refuse(
                429,
                f"{self._most} MCP sessions are open, the most that one tenant may have; end one (DELETE), or wait: "
                f"unused ones end after {self._idle_seconds / 60:.0f} minutes.",
                scope,
                receive,
                send,
            )
        else:
            await self._begin(owner, connect, scope, receive, send)

    async def aclose(self) -> None:
        """End every session, and its sandboxes with it."""
        self._closed = True
        await asyncio.gather(*(self._end(session_id) for session_id in list(self._sessions)))
        await _end_watcher()

    async def _go_on(self, session_id: str, owner: Owner, scope: Scope, receive: Receive, send: Send) -> None:
        session = self._sessions.get(session_id)
        if session is None or session.owner != owner:
            # Whether it is another's is nobody's business.
            await _refuse(404, "Session not found: it has ended. Begin a new one.", scope, receive, send)
        elif scope["method"] == "DELETE":
            await self._end(session_id)
            await Response(status_code=204)(scope, receive, send)
        else:
            await session.transport.handle_request(scope, receive, send)

    async def _begin(
        self, owner: Owner, connect: Callable[[], AsyncClient], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Let a new session answer; what does not open it (anything but a good initialize) ends it again."""
        session_id = secrets.token_hex(16)
        transport = StreamableHTTPServerTransport(mcp_session_id=session_id, idle_timeout=self._idle_seconds)
        ready = asyncio.Event()
        serving = asyncio.create_task(self._serve(session_id, transport, connect(), ready))
        self._sessions[session_id] = _Session(owner, transport, serving)
        opened = False

        async def watch(message: Message) -> None:
            nonlocal opened
            if message["type"] == "http.response.start":
                opened = message["status"] < 400
            elif _ERROR in message.get("body", b""):
                opened = False
            await send(message)

        try:
            await ready.wait()
            await transport.handle_request(scope, receive, watch)
        finally:
            if not opened:
                with anyio.CancelScope(shield=True):
                    await self._end(session_id)

    async def _serve(
        self, session_id: str, transport: StreamableHTTPServerTransport, client: AsyncClient, ready: asyncio.Event
    ) -> None:
        server = make_server(client)
        try:
            async with transport.connect() as (read, write):
                ready.set()
                with transport.idle_scope or anyio.CancelScope():
                    await server.run(read, write, server.create_initialization_options())
        except Exception:  # noqa: BLE001 - logged; a session that failed is over, and its client is told so by a 404
            _log.exception("An MCP session failed.")
        finally:
            ready.set()
            self._sessions.pop(session_id, None)
            with anyio.CancelScope(shield=True):
                await transport.terminate()

    async def _end(self, session_id: str) -> None:
        """End a session, and wait until its sandboxes have ended."""
        session = self._sessions.pop(session_id, None)
        if session is None:
            return
        await session.transport.terminate()
        done, _ = await asyncio.wait([session.serving], timeout=CLOSING_SECONDS)
        if not done:
            session.serving.cancel()


async def _end_watcher() -> None:
    """End the task by which sse_starlette polls for the end of a uvicorn server, which has none of its own."""
    watchers = [task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__name__", "") == _WATCHER]
    for task in watchers:
        task.cancel()
    await asyncio.gather(*watchers, return_exceptions=True)


async def _refuse(status: int, sentence: str, scope: Scope, receive: Receive, send: Send) -> None:
    error = types.ErrorData(code=types.INVALID_REQUEST, message=sentence)
    await _error_response(status, error)(scope, receive, send)


async def _refuse_version(version: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Name the versions that are spoken here, as an answer to the request: clients fall back to one of them."""
    data = types.UnsupportedProtocolVersionErrorData(
        supported=list(HANDSHAKE_PROTOCOL_VERSIONS), requested=version[:100]
    )
    error = types.ErrorData(
        code=types.UNSUPPORTED_PROTOCOL_VERSION,
        message=f"Unsupported protocol version; this endpoint speaks {', '.join(HANDSHAKE_PROTOCOL_VERSIONS)}.",
        data=data.model_dump(mode="json"),
    )
    message = await receive()
    try:
        body = json.loads(message.get("body") or b"null")
    except (ValueError, RecursionError):
        body = None
    request_id = body.get("id") if isinstance(body, dict) else None
    known = request_id if isinstance(request_id, str | int) and not isinstance(request_id, bool) else None
    await _error_response(400, error, known)(scope, receive, send)


def _error_response(status: int, error: types.ErrorData, request_id: str | int | None = None) -> Response:
    body = types.JSONRPCError(jsonrpc="2.0", id=request_id, error=error)
    headers = {"Retry-After": "60"} if status == 429 else None
    content = body.model_dump_json(by_alias=True, exclude_unset=True)
    return Response(content, status_code=status, headers=headers, media_type="application/json")
