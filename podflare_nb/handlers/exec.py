"""Running code: exec with its stream of events, interrupt, and the replay of what was missed."""

from __future__ import annotations

import asyncio
import json
import secrets
import time

from tornado import web

from ..protocol.provenance import Provenance, model_of
from ..protocol.requests import Exec, Nothing
from ..protocol.responses import Accepted
from ..sandboxes.exec_events import stream
from ..sandboxes.execution import Execution, ExecutionRequest
from .authorization import authorized
from .streaming import StreamingHandler, sentence_of

OPENING_SECONDS = 0.1
TOGETHER_SECONDS = 0.002
TOGETHER_BYTES = 64 * 1024
NDJSON = "application/x-ndjson"


class ExecHandler(StreamingHandler):
    """``POST /v1/sandboxes/{id}/exec``: NDJSON events, each sent as the kernel makes it."""

    @web.authenticated
    @authorized("execute", resource="podflare_nb:executions")
    async def post(self, sandbox_id: str) -> None:
        """Run code. A client that goes away before the end cancels it."""
        request = self.read(Exec)
        services = await self.services()
        sandbox = services.sandboxes.get(self.who.tenant.id, sandbox_id)
        execution = await sandbox.execute(
            execution_request(request, self.who.principal, keeps_states=sandbox.checkpoints.most > 0)
        )
        self.begin_stream(NDJSON)
        # Whoever waits for a silent cell should at least know that it has begun.
        opening = asyncio.get_running_loop().call_later(OPENING_SECONDS, self.open_stream)
        try:
            await self._follow(execution)
        finally:
            opening.cancel()
            execution.cancel()

    async def _follow(self, execution: Execution) -> None:
        """Send events to the end; what goes wrong on the way is the last event, since the status is sent."""
        pieces = stream(execution)
        try:
            first = await anext(pieces)
            self.write(first)
            if not execution.done:
                # Most cells end right after their output: sent together, that is one packet instead of three,
                # which measured as 0.1 ms of a call of 2.2 ms.
                await asyncio.wait([asyncio.ensure_future(execution.result())], timeout=TOGETHER_SECONDS)
            together = len(first)
            if not execution.done:
                await self.send(b"")
            async for lines in pieces:
                together += len(lines)
                if execution.done and together < TOGETHER_BYTES:
                    self.write(lines)
                else:
                    # A client that does not read stops the making of events.
                    await self.send(lines)
                    together = 0
        except Exception as error:
            if not self._headers_written:
                raise
            self.log_exception(type(error), error, error.__traceback__)
            self.write(failure_line(error))
        await self.finish_stream()


class InterruptHandler(StreamingHandler):
    """``POST /v1/sandboxes/{id}/interrupt``."""

    @web.authenticated
    @authorized("execute", resource="podflare_nb:executions")
    async def post(self, sandbox_id: str) -> None:
        """Interrupt what runs now; nothing when nothing runs."""
        self.read(Nothing)
        services = await self.services()
        await services.sandboxes.get(self.who.tenant.id, sandbox_id).interrupt()
        await self.answer(Accepted(), 202)


class ReplayHandler(StreamingHandler):
    """``GET /v1/sandboxes/{id}/replay``: the last 1000 events of executions."""

    @web.authenticated
    @authorized("read", resource="podflare_nb:executions")
    async def get(self, sandbox_id: str) -> None:
        """Send what is kept, oldest first."""
        services = await self.services()
        events = services.sandboxes.get(self.who.tenant.id, sandbox_id).replay()
        self.begin_stream(NDJSON)
        await self.send(events)
        await self.finish_stream()


def failure_line(error: BaseException) -> str:
    """Give the last line of a stream of events that cannot go on."""
    code, message = sentence_of(error)
    event = {"type": "error", "data": {"code": code, "message": message}, "seq": -1, "ts": now_ms()}
    return json.dumps(event) + "\n"


def execution_request(request: Exec, principal: str, *, keeps_states: bool) -> ExecutionRequest:
    """Make what a sandbox runs of what a client sent.

    Where states are kept, a call that names no turn is one of its own, and each call of a turn that its caller named
    ends it as far as we know: what is kept of it is the state after the last one.
    """
    return ExecutionRequest(
        code=request.code,
        language=request.language or "python",
        timeout_seconds=request.timeout_seconds,
        provenance=Provenance(
            role="tool",
            principal=principal,
            operator=request.operator,
            turn_id=request.turn_id or (f"turn_{secrets.token_hex(16)}" if keeps_states else None),
            tool_call_id=request.tool_call_id,
            model=model_of(request.model),
        ),
        ends_turn=keeps_states,
    )


def now_ms() -> int:
    """Give the time in milliseconds since the epoch, as events have it."""
    return time.time_ns() // 1_000_000
