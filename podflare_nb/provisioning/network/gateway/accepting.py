"""Connections of one listener: as many as the sandbox may have; others are told so, a few at a time.

When even those who are to be told are too many, nobody is accepted until one of them has gone: they wait in the
listener's queue, where they cost the others nothing.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from . import dialing
from .relay import abort

log = logging.getLogger(__name__)

MAX_TURNED_AWAY = 16
PAUSE_SECONDS = 0.1
"""When there are no descriptors."""

Serve = Callable[[socket.socket], Coroutine[Any, Any, None]]


class Acceptor:
    """``run`` until cancelled. ``serve`` and ``turn_away`` get a socket each, which is closed for them; the listener is
    the caller's to close, since a task that is cancelled before it began closes nothing."""

    def __init__(self, listener: socket.socket, admits: Callable[[], bool], serve: Serve, turn_away: Serve) -> None:
        self._listener = listener
        self._admits = admits
        self._serve = serve
        self._turn_away = turn_away
        self._turned_away = asyncio.Semaphore(MAX_TURNED_AWAY)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Accept; at the end, end what is under way."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    sock, _ = await loop.sock_accept(self._listener)
                except OSError:
                    await asyncio.sleep(PAUSE_SECONDS)
                    continue
                with suppress(OSError):
                    dialing.set_options(sock)
                if self._admits():
                    self._begin(self._serve, sock)
                else:
                    await self._begin_turning_away(sock)
                await asyncio.sleep(0)
        finally:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _begin_turning_away(self, sock: socket.socket) -> None:
        try:
            await self._turned_away.acquire()
        except asyncio.CancelledError:
            sock.close()
            raise
        self._begin(self._turn_away, sock).add_done_callback(lambda _: self._turned_away.release())

    def _begin(self, serve: Serve, sock: socket.socket) -> asyncio.Task[None]:
        task = asyncio.create_task(serve(sock))
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._end(task, sock))
        return task

    def _end(self, task: asyncio.Task[None], sock: socket.socket) -> None:
        """Also of a task that was cancelled before it began. A connection that was cut off ends as broken."""
        self._tasks.discard(task)
        if task.cancelled():
            abort(sock)
        elif task.exception():
            log.error("A connection failed", exc_info=task.exception())
        sock.close()
