"""Processes of ours that serve sandboxes from outside: started by the supervisor, started again when they die.

An attendant speaks datagrams on one end of a pair (``datagrams``): it is told what there is to serve, with the
descriptors for that, and tells what it saw. One that has died has let go of all of them: the next is told everything
anew. It ends when the pair closes, however the supervisor ended.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from .. import datagrams
from ..waiting import receive, writable

log = logging.getLogger(__name__)
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.05, 5.0
STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Order:
    """What an attendant is told. The descriptors are closed when it has been."""

    body: dict[str, Any]
    fds: Sequence[int] = ()

    def close_fds(self) -> None:
        """Give up what was not sent."""
        for fd in self.fds:
            os.close(fd)


class Attendant:
    """One such process, or none for a moment.

    ``everything`` is asked for what a new one has to be told, its configuration first; ``on_event`` hears what it says.
    """

    def __init__(
        self, module: str, everything: Callable[[], Iterable[Order]], on_event: Callable[[dict[str, Any]], None]
    ) -> None:
        self.module = module
        self._everything = everything
        self._on_event = on_event
        self._orders: deque[Order] = deque()
        self._sock: socket.socket | None = None
        self._pumping: asyncio.Task[None] | None = None
        self._running: asyncio.Task[None] | None = None
        self.pid: int | None = None
        self.ready = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Attendant {self.module} pid={self.pid}>"

    def start(self) -> None:
        """Start it and keep it running; returns at once: what it serves waits for it."""
        self._running = asyncio.create_task(self._run())

    def tell(self, body: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Tell it, in order. Nothing while there is none: the next is told everything anew."""
        order = Order(body, fds)
        if self._sock is None:
            order.close_fds()
            return
        self._orders.append(order)
        if self._pumping is None:
            self._pump()

    def _pump(self) -> None:
        """Send what there is to send; the rest when its socket takes more."""
        while self._orders and self._sock is not None:
            order = self._orders[0]
            try:
                datagrams.send(self._sock, order.body, order.fds)
            except BlockingIOError:
                self._pumping = asyncio.create_task(self._pump_later(self._sock))
                return
            except (datagrams.PeerClosedError, OSError):
                self._forget()
                return
            self._orders.popleft().close_fds()

    async def _pump_later(self, sock: socket.socket) -> None:
        await writable(sock.fileno())
        self._pumping = None
        self._pump()

    async def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            lived = await self._live()
            pause = FIRST_PAUSE_SECONDS if lived else min(2 * pause, LAST_PAUSE_SECONDS)
            log.error("The process %s ended; it is started again.", self.module)
            await asyncio.sleep(pause)

    async def _live(self) -> bool:
        """One life of it. True if it got as far as to be ready."""
        ours, theirs = datagrams.pair()
        ours.settimeout(0)
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-P", "-m", self.module, str(theirs.fileno()), pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL, start_new_session=True, cwd="/",
                )  # fmt: skip
        except OSError:
            log.exception("The process %s cannot be started", self.module)
            ours.close()
            return False
        self.pid, self._sock = process.pid, ours
        try:
            for order in self._everything():
                self.tell(order.body, order.fds)
            with suppress(datagrams.PeerClosedError, OSError, ValueError):
                while True:
                    told = await receive(ours)
                    told.close_fds()
                    if told.body.get("event") == "ready":
                        self.ready.set()
                    else:
                        self._on_event(told.body)
            return self.ready.is_set()
        finally:
            self._forget()
            self.ready.clear()
            self.pid = None
            ours.close()
            await _end(process)

    def _forget(self) -> None:
        """There is nobody to tell."""
        self._sock = None
        if self._pumping is not None:
            self._pumping.cancel()
            self._pumping = None
        while self._orders:
            self._orders.popleft().close_fds()

    async def close(self) -> None:
        """End it. Idempotent."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None


async def _end(process: asyncio.subprocess.Process) -> None:
    """It ends by itself, its socket being closed; or else."""
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
