"""Terminals of a sandbox: make one, follow it, type, resize, read, end it."""

from __future__ import annotations

import base64
import binascii

from tornado import web

from ..errors import InvalidArgumentError, TooLargeError
from ..protocol.requests import Nothing
from ..protocol.responses import Accepted
from ..protocol.terminals import (
    COLUMNS,
    MAX_INPUT_BYTES,
    READ_BYTES,
    READ_MS,
    ROWS,
    CreateTerminal,
    ReadTerminal,
    ResizeTerminal,
    TerminalInfo,
    TerminalInput,
    TerminalList,
    TerminalOutput,
)
from ..provisioning.handle import TerminalCommand, TerminalRefusal
from ..sandboxes import terminal_events
from ..sandboxes.terminal import Terminal
from ..sandboxes.terminals import Terminals, command_of
from .authorization import authorized
from .exec import NDJSON
from .streaming import StreamingHandler

RESOURCE = "podflare_nb:terminals"


class TerminalsHandler(StreamingHandler):
    """``/v1/sandboxes/{id}/pty``."""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, sandbox_id: str) -> None:
        """List the terminals, oldest first."""
        terminals = await self._terminals(sandbox_id)
        await self.answer(TerminalList([info_of(terminal) for terminal in terminals.all()]))

    @web.authenticated
    @authorized("execute", resource=RESOURCE)
    async def post(self, sandbox_id: str) -> None:
        """Make a terminal and follow it. It lives on when the client goes away."""
        request = self.read(CreateTerminal)
        command = TerminalCommand(
            command_of(request.shellCmd, request.argv),
            dict(request.env or ()),
            request.cwd,
            (request.cols or COLUMNS, request.rows or ROWS),
        )
        terminals = await self._terminals(sandbox_id)
        terminal = await terminals.open(command)
        self.begin_stream(NDJSON)
        if isinstance(terminal, TerminalRefusal):
            self.write(terminal_events.failure(terminal.message, terminal.exit_code))
            await self.finish_stream()
            return
        with terminal_events.following(terminal, 0) as lines:
            await self.send(terminal_events.ready(terminal))
            await self.send_all(lines)

    async def _terminals(self, sandbox_id: str) -> Terminals:
        services = await self.services()
        return services.sandboxes.get(self.who.tenant.id, sandbox_id).terminals


class TerminalHandler(StreamingHandler):
    """Base of what is done with one terminal."""

    async def terminal(self, sandbox_id: str, pty_id: str) -> Terminal:
        """Find it. Raises NotFoundError, GoneError."""
        services = await self.services()
        return services.sandboxes.get(self.who.tenant.id, sandbox_id).terminals.get(pty_id)


class AttachHandler(TerminalHandler):
    """``GET /v1/sandboxes/{id}/pty/{pid}/attach``."""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, sandbox_id: str, pty_id: str) -> None:
        """Send what is kept since ``since_seq``, then what comes, to the end."""
        text = self.get_query_argument("since_seq", "0")
        if not text.isdecimal() or len(text) > 18:
            raise InvalidArgumentError(f"since_seq is {text[:60]!r}; it must be a seq of this terminal, or 0.")
        terminal = await self.terminal(sandbox_id, pty_id)
        with terminal_events.following(terminal, int(text)) as lines:
            self.begin_stream(NDJSON)
            self.open_stream()
            await self.send_all(lines)


class InputHandler(TerminalHandler):
    """``POST /v1/sandboxes/{id}/pty/{pid}/input``."""

    @web.authenticated
    @authorized("execute", resource=RESOURCE)
    async def post(self, sandbox_id: str, pty_id: str) -> None:
        """Type; answers when it is taken, though its program may not have read it yet."""
        data = decoded(self.read(TerminalInput).data_b64)
        services = await self.services()
        await services.sandboxes.get(self.who.tenant.id, sandbox_id).terminals.type(pty_id, data)
        await self.answer(Accepted())


class ResizeHandler(TerminalHandler):
    """``POST /v1/sandboxes/{id}/pty/{pid}/resize``."""

    @web.authenticated
    @authorized("execute", resource=RESOURCE)
    async def post(self, sandbox_id: str, pty_id: str) -> None:
        """Give it another size."""
        request = self.read(ResizeTerminal)
        (await self.terminal(sandbox_id, pty_id)).resize(request.cols, request.rows)
        await self.answer(Accepted())


class KillHandler(TerminalHandler):
    """``POST /v1/sandboxes/{id}/pty/{pid}/kill``."""

    @web.authenticated
    @authorized("execute", resource=RESOURCE)
    async def post(self, sandbox_id: str, pty_id: str) -> None:
        """End it, and all of its session; nothing if it has ended."""
        self.read(Nothing)
        await (await self.terminal(sandbox_id, pty_id)).kill()
        await self.answer(Accepted())


class ReadHandler(TerminalHandler):
    """``POST /v1/sandboxes/{id}/pty/{pid}/read``."""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def post(self, sandbox_id: str, pty_id: str) -> None:
        """Answer what came since, or the first of it that comes."""
        request = self.read(ReadTerminal)
        terminal = await self.terminal(sandbox_id, pty_id)
        milliseconds = READ_MS if request.timeout_ms is None else request.timeout_ms
        piece = await terminal_events.read(
            terminal, request.since_seq or 0, request.max_bytes or READ_BYTES, milliseconds / 1000
        )
        await self.answer(
            TerminalOutput(
                data_b64=base64.b64encode(piece.data).decode(),
                seq=piece.seq,
                dropped_bytes=piece.dropped,
                exit_code=piece.exit_code,
            )
        )


def decoded(text: str) -> bytes:
    """What was typed. Raises InvalidArgumentError, TooLargeError."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidArgumentError(f"data_b64 is not base64 ({error}).") from None
    if len(data) > MAX_INPUT_BYTES:
        raise TooLargeError(
            f"The input has {len(data)} bytes; the limit is {MAX_INPUT_BYTES} (1 MiB). Send it in pieces.",
            limit=MAX_INPUT_BYTES,
            size=len(data),
        )
    return data


def info_of(terminal: Terminal) -> TerminalInfo:
    """Describe one."""
    return TerminalInfo(
        pty_id=terminal.pty_id,
        cmd_label=terminal.label,
        created_at_ms=terminal.created_at_ms,
        exit_code=terminal.exit_code,
    )
