"""The shell channel: a client's requests, handled one after the other in the main thread."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from typing import Any

import zmq
from tornado.ioloop import IOLoop

from .interrupts import Interrupts


class ShellChannel:
    """Requests of the shell channel, one after the other, each in a task of the same context.

    Stands where ipykernel expects a ZMQStream, without its queueing and polling.
    """

    def __init__(self, shell: zmq.Socket[bytes], interrupts: Interrupts, context: Context) -> None:
        self.socket = shell
        self.context = context
        self._interrupts = interrupts
        self.pending: deque[list[Any] | None] = deque()
        """What has come and is not begun yet; None is a mark."""
        self._task: asyncio.Task[None] | None = None
        self._overtaking = 0
        self._held = False
        self.between: Callable[[], bool] = lambda: False
        """Asked in the main thread whenever no request is under way: whether there is other work, and to wait."""
        self.reply: Callable[[Sequence[bytes]], object] = shell.send_multipart
        self._handle: Callable[[list[Any]], Coroutine[Any, Any, None]]
        self._overtakes: Callable[[list[Any]], bool]
        self._marked: Callable[[], None]
        self.io_loop: IOLoop
        """The kernel's own; ipykernel stops another one at a shutdown."""

    def serve(
        self,
        handle: Callable[[list[Any]], Coroutine[Any, Any, None]],
        overtakes: Callable[[list[Any]], bool],
        marked: Callable[[], None],
    ) -> None:
        """Start to read. ``overtakes``: this message need not wait for the running one; ``marked``: see ``mark``."""
        self._handle, self._overtakes, self._marked = handle, overtakes, marked
        self.io_loop = IOLoop.current()
        self._loop = asyncio.get_event_loop_policy().get_event_loop()
        self._loop.add_reader(self.socket.FD, self.look)
        self._loop.call_soon(self.look)

    def finish(self) -> None:
        """Stop reading."""
        self._loop.remove_reader(self.socket.FD)

    def send_multipart(self, frames: Sequence[bytes], *_: object, **__: object) -> None:
        """Send a reply."""
        self.reply(frames)

    def flush(self, _flag: int = 0, _limit: int | None = None) -> None:
        """Nothing is ever held back."""

    def mark(self) -> None:
        """Call ``marked`` when all requests that have arrived by now are handled."""
        self.receive()
        self.pending.append(None)

    def look(self) -> None:
        """Take up what has come, and ask ``between`` if no request is under way. In the main thread."""
        self.receive()
        self._next()

    def receive(self) -> None:
        """Queue what has come. In the main thread."""
        with contextlib.suppress(zmq.Again):
            while True:
                message = self.socket.recv_multipart(zmq.NOBLOCK, copy=False)
                if self._task is not None and self._overtakes(message):
                    self._overtaking += 1
                    self._start(message).add_done_callback(self._overtook)
                else:
                    self.pending.append(message)

    async def exhaust(self) -> bool:
        """Handle what has come by now, one after the other, while ``between`` said to wait; not what comes meanwhile,
        which may never end. Whether something had."""
        self.receive()
        come = len(self.pending)
        for _ in range(come):
            message = self.pending.popleft()
            if message is not None:
                await asyncio.wait([self._start(message)])
        return bool(come)

    def offer(self) -> None:
        """Ask ``between`` now, if no request is under way. In the main thread."""
        if self._task is None and not self._overtaking and not self._held:
            self._held = self.between()

    def release(self) -> None:
        """Go on after ``between`` said to wait."""
        self._held = False
        self._loop.call_soon(self.look)

    def _next(self) -> None:
        self.offer()
        while self._task is None and not self._overtaking and self.pending and not self._held:
            message = self.pending.popleft()
            if message is None:
                self._marked()
            else:
                self._task = self._start(message)
                self._task.add_done_callback(self._finished)

    def _start(self, message: list[Any]) -> asyncio.Task[None]:
        task = self._loop.create_task(self._handle(message), context=self.context)
        self._interrupts.own_tasks.add(task)
        task.add_done_callback(self._report)
        return task

    def _report(self, task: asyncio.Task[None]) -> None:
        self._interrupts.own_tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._loop.call_exception_handler(
                {"message": "a shell request failed in the kernel", "exception": error, "task": task}
            )

    def _overtook(self, _task: asyncio.Task[None]) -> None:
        self._overtaking -= 1
        if self._task is None and not self._overtaking:
            self.look()  # what came meanwhile waits: comms without end would keep ``between`` from being asked

    def _finished(self, _task: asyncio.Task[None]) -> None:
        self._task = None
        # A reply's send may have swallowed the event of a request that came meanwhile.
        self.look()
