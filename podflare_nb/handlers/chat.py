"""The chat: turns as streams of events, their list, cancelling, approving."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from tornado import web

from ..chat.dialects import Dialect, choose_dialect
from ..chat.events import SSE, SSE_KEEP_ALIVE
from ..chat.limits import TurnRequest
from ..chat.turn import Turn
from ..errors import InvalidArgumentError
from ..protocol.requests import Approval, ChatMessage, Nothing
from ..protocol.responses import Accepted, TurnInfo, TurnList
from ..transcripts.transcript import title_of
from .authorization import authorized
from .notebook import TranscriptHandler
from .streaming import StreamingHandler

MAX_SEQ_DIGITS = 15
KEEP_ALIVE_SECONDS = 15.0


class TurnStreamHandler(StreamingHandler, TranscriptHandler):
    """Base of the two ways to follow a turn. A turn goes on when its reader goes away."""

    def dialect(self, sandbox_id: str) -> Dialect:
        """Choose the form of the events by ``?format=`` and ``Accept``."""
        accept = self.request.headers.get("Accept", "")
        return choose_dialect(accept, self.get_query_argument("format", None), sandbox_id)

    async def follow(self, turn: Turn, dialect: Dialect, after: int = -1) -> None:
        """Send the turn's events after a seq, to its end."""
        events = turn.events(after)
        for name, value in dialect.headers.items():
            self.set_header(name, value)
        self.set_header("X-Turn-Id", turn.id)
        self.begin_stream(dialect.content_type)
        pieces = (piece async for event in events if (piece := dialect.encode(event)))
        await self.send_all(with_keep_alives(pieces) if dialect.content_type == SSE else pieces)


async def with_keep_alives(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Put a comment in wherever nothing happens for a while, so that no proxy ends the stream."""
    yield SSE_KEEP_ALIVE
    coming: asyncio.Future[bytes] = asyncio.ensure_future(anext(pieces))
    try:
        while True:
            done, _ = await asyncio.wait({coming}, timeout=KEEP_ALIVE_SECONDS)
            if not done:
                yield SSE_KEEP_ALIVE
                continue
            try:
                piece = coming.result()
            except StopAsyncIteration:
                return
            coming = asyncio.ensure_future(anext(pieces))
            yield piece
    finally:
        coming.cancel()


class ChatHandler(TurnStreamHandler):
    """``/v1/sandboxes/{id}/chat``: start a turn, list turns."""

    @web.authenticated
    @authorized("read", resource="podflare_nb:chat")
    async def get(self, sandbox_id: str) -> None:
        """List the turns, oldest first; also of a sandbox that is closed."""
        services = await self.services()
        transcript = await self.transcript(sandbox_id)
        turns = await services.chat.turns(sandbox_id, transcript)
        await self.answer(TurnList(turns=[TurnInfo(**turn) for turn in turns]))

    @web.authenticated
    @authorized("execute", resource="podflare_nb:chat")
    async def post(self, sandbox_id: str) -> None:
        """Start a turn and send its events as they come."""
        message = self.read(ChatMessage)
        services = await self.services()
        dialect = self.dialect(sandbox_id)
        sandbox = services.sandboxes.get(self.who.tenant.id, sandbox_id)
        transcript = services.transcripts.open(sandbox_id)
        request = TurnRequest(
            message=message.message,
            model=message.model,
            max_steps=message.max_steps,
            max_tokens=message.max_tokens,
            timeout_seconds=message.timeout_seconds,
            approve="ask" if message.approve == "ask" else "auto",
        )
        turn = services.chat.start(sandbox, transcript, request, self.who.principal)
        if sandbox.title is None and (title := title_of(message.message)) is not None:
            await services.sandboxes.update(self.who.tenant.id, sandbox_id, title=title)
        await self.follow(turn, dialect)


class TurnEventsHandler(TurnStreamHandler):
    """``GET /v1/sandboxes/{id}/chat/{turn_id}/events?after=<seq>``: take up a stream that was lost."""

    @web.authenticated
    @authorized("read", resource="podflare_nb:chat")
    async def get(self, sandbox_id: str, turn_id: str) -> None:
        """Send the events after a seq, then those to come."""
        services = await self.services()
        await self.transcript(sandbox_id)
        after = self._after()
        dialect = self.dialect(sandbox_id)
        if after >= 0 and not dialect.resumable:
            raise InvalidArgumentError("Only format=ndjson and format=sse can be taken up after a seq.")
        await self.follow(services.chat.turn(sandbox_id, turn_id), dialect, after)

    def _after(self) -> int:
        """Read ``?after=``, or what a browser's EventSource sends when it connects again."""
        text = self.get_query_argument("after", None) or self.request.headers.get("Last-Event-ID") or "-1"
        if not text.removeprefix("-").isdecimal() or len(text) > MAX_SEQ_DIGITS or int(text) < -1:
            raise InvalidArgumentError(f"after is {text!r}; it must be the seq of the last event that you have.")
        return int(text)


class TurnCancelHandler(TranscriptHandler):
    """``POST /v1/sandboxes/{id}/chat/{turn_id}/cancel``."""

    @web.authenticated
    @authorized("execute", resource="podflare_nb:chat")
    async def post(self, sandbox_id: str, turn_id: str) -> None:
        """Stop the agent and interrupt its code; the end comes as an event of the turn."""
        self.read(Nothing)
        services = await self.services()
        await self.transcript(sandbox_id)
        services.chat.cancel(sandbox_id, turn_id, self.who.principal)
        await self.answer(Accepted(), 202)


class TurnApproveHandler(TranscriptHandler):
    """``POST /v1/sandboxes/{id}/chat/{turn_id}/approve``."""

    @web.authenticated
    @authorized("execute", resource="podflare_nb:chat")
    async def post(self, sandbox_id: str, turn_id: str) -> None:
        """Give a person's answer to an approval-request."""
        answer = self.read(Approval)
        services = await self.services()
        await self.transcript(sandbox_id)
        services.chat.approve(
            sandbox_id, turn_id, answer.tool_call_id, approved=answer.approved, principal=self.who.principal
        )
        await self.answer(Accepted(), 202)
