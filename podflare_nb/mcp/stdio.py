"""MCP over standard input and output: one process is one session, which ends with its input.

``cli/mcp.py`` calls ``serve``. Nothing but the protocol is written to standard output.
"""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial

from mcp.server.lowlevel.server import Server
from mcp.server.stdio import stdio_server

from podflare_nb.client import AsyncClient

from .server import make_server
from .session import ToolSession

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def serve(url: str, api_key: str, *, template: str | None = None) -> None:
    """Serve until the input ends. A signal ends the session's sandboxes and then the process."""
    ending = _Ending()
    serving = asyncio.create_task(_serve(make_server(AsyncClient(url, api_key), template=template), ending))
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, partial(ending.by_signal, serving, number))
    await serving


class _Ending:
    """How the process is asked to end; ``exit_code`` None: its input ends."""

    exit_code: int | None = None

    def by_signal(self, serving: asyncio.Task[None], number: int) -> None:
        self.exit_code = 128 + number
        serving.cancel()


async def _serve(server: Server[ToolSession], ending: _Ending) -> None:
    async with stdio_server() as (read, write):
        try:
            await server.run(read, write, server.create_initialization_options())
        finally:
            if ending.exit_code is not None:
                # The sandboxes have ended. A thread of the transport waits in read() on an input that is still
                # open, nothing wakes it, and leaving the block would wait for it.
                os._exit(ending.exit_code)
