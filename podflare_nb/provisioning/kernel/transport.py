"""A kernel's live connection: ZeroMQ sockets on listening descriptors, the service thread, the capture of output.

Made anew in every process that becomes a kernel; nothing of it exists in a template. A forked child of a *live*
kernel holds a dead copy: its threads do not exist there, its sockets answer to the parent's clients. ``abandon``
closes its descriptors and keeps its objects for ever, because finalising them would wait for those threads.
Knows ZeroMQ and tornado; knows nothing of ipykernel (``ipykernel_seam`` plugs the kernel in).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq
from tornado.ioloop import IOLoop

from .capture import Capture
from .frames import FrameSender, WholeMessageSocket
from .interrupts import Interrupts
from .outbox import FLUSH_SECONDS, Outbox
from .service import Heartbeat, ServiceThread
from .timer import Timer

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
SHELL_INPROC = "inproc://shell"
"""The shell channel's address for the kernel's own debugger."""
PAUSE_SECONDS = 0.02
SEND_HIGH_WATER = 256
"""Messages in a subscriber's queue before publishers wait for it; a stream message has at most 64 KiB of text."""
LINGER_MS = 1000

_graveyard: list[object] = []
"""What belonged to a parent's transport; never finalised."""


class IopubPort:
    """The publishing socket; the outbox sees to it that one thread at a time uses it."""

    def __init__(self, iopub: zmq.Socket[bytes], welcome: Callable[[bytes], Sequence[bytes]]) -> None:
        self._socket = iopub
        self._sender = FrameSender(iopub)
        self._welcome = welcome
        iopub.setsockopt(zmq.XPUB_NODROP, 1)
        iopub.setsockopt(zmq.XPUB_VERBOSE, 1)  # a second client of the same topic is welcomed, too

    def send(self, frames: Sequence[bytes], sent: list[int], *, lossy: bool) -> bool:
        """See ``outbox.Port``."""
        if not lossy:
            return self._sender.send(frames, sent)
        self._socket.setsockopt(zmq.XPUB_NODROP, 0)
        try:
            return self._sender.send(frames, sent)
        finally:
            self._socket.setsockopt(zmq.XPUB_NODROP, 1)

    def greetings(self) -> Sequence[Sequence[bytes]]:
        """An ``iopub_welcome`` for each new subscription; a send may swallow the event that announces one."""
        if not self._sender.has_input():
            return ()
        welcomes = []
        with contextlib.suppress(zmq.Again):
            while True:
                event = self._socket.recv(zmq.NOBLOCK)
                if event[:1] == b"\x01":
                    welcomes.append(self._welcome(event[1:]))
        return welcomes


class ShellChannel:
    """Requests of the shell channel, one after the other, each in a task of the same context.

    Stands where ipykernel expects a ZMQStream, without its queueing and polling.
    """

    def __init__(self, shell: zmq.Socket[bytes], interrupts: Interrupts) -> None:
        self.socket = shell
        self._interrupts = interrupts
        self._context: Context = copy_context()
        self._pending: deque[list[Any] | None] = deque()
        self._task: asyncio.Task[None] | None = None
        self._handle: Callable[[list[Any]], Coroutine[Any, Any, None]]
        self._overtakes: Callable[[list[Any]], bool]
        self._marked: Callable[[], None]

    def serve(
        self,
        handle: Callable[[list[Any]], Coroutine[Any, Any, None]],
        overtakes: Callable[[list[Any]], bool],
        marked: Callable[[], None],
    ) -> None:
        """Start to read. ``overtakes``: this message need not wait for the running one; ``marked``: see ``mark``."""
        self._handle, self._overtakes, self._marked = handle, overtakes, marked
        self._loop = asyncio.get_event_loop_policy().get_event_loop()
        self._loop.add_reader(self.socket.FD, self._readable)
        self._loop.call_soon(self._readable)

    def finish(self) -> None:
        """Stop reading."""
        self._loop.remove_reader(self.socket.FD)

    def send_multipart(self, frames: Sequence[bytes], *_: object, **__: object) -> None:
        """Send a reply."""
        self.socket.send_multipart(frames)

    def flush(self, _flag: int = 0, _limit: int | None = None) -> None:
        """Nothing is ever held back."""

    def mark(self) -> None:
        """Call ``marked`` when all requests that have arrived by now are handled."""
        self._receive()
        self._pending.append(None)

    def _readable(self) -> None:
        self._receive()
        self._next()

    def _receive(self) -> None:
        with contextlib.suppress(zmq.Again):
            while True:
                message = self.socket.recv_multipart(zmq.NOBLOCK, copy=False)
                if self._task is not None and self._overtakes(message):
                    self._start(message)
                else:
                    self._pending.append(message)

    def _next(self) -> None:
        while self._task is None and self._pending:
            message = self._pending.popleft()
            if message is None:
                self._marked()
            else:
                self._task = self._start(message)
                self._task.add_done_callback(self._finished)

    def _start(self, message: list[Any]) -> asyncio.Task[None]:
        task = self._loop.create_task(self._handle(message), context=self._context)
        self._interrupts.own_tasks.add(task)
        task.add_done_callback(self._report)
        return task

    def _report(self, task: asyncio.Task[None]) -> None:
        self._interrupts.own_tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._loop.call_exception_handler(
                {"message": "a shell request failed in the kernel", "exception": error, "task": task}
            )

    def _finished(self, _task: asyncio.Task[None]) -> None:
        self._task = None
        # A reply's send may have swallowed the event of a request that came meanwhile.
        self._readable()


@dataclass(frozen=True, slots=True)
class Publishing:
    """How the transport reaches what publishes: the outbox, and makers of what it cannot make itself."""

    outbox: Outbox
    welcome: Callable[[bytes], Sequence[bytes]]
    captured: Callable[[str, str], None]


class Transport:
    """Sockets, service thread and capture of one kernel process. ``listeners``: descriptor of each of CHANNELS."""

    def __init__(self, listeners: Mapping[str, int], publishing: Publishing, interrupts: Interrupts) -> None:
        before = _open_descriptors()
        self._outbox = publishing.outbox
        self._loop = asyncio.get_event_loop_policy().get_event_loop()  # kept: a parent's must not be finalised
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.service = ServiceThread()
        self.shell_socket = self._bind(zmq.ROUTER, listeners["shell"])
        self.shell_socket.bind(SHELL_INPROC)
        self.stdin_socket = self._bind(zmq.ROUTER, listeners["stdin"])
        self.control_socket = self._bind(zmq.ROUTER, listeners["control"])
        self.iopub_socket = self._bind(zmq.XPUB, listeners["iopub"])
        self._hb_socket = self._bind(zmq.ROUTER, listeners["hb"])
        self.shell = ShellChannel(self.shell_socket, interrupts)
        self.capture = Capture(publishing.captured)
        self._timer = Timer(FLUSH_SECONDS)
        self._wire(publishing)
        self._listeners = frozenset(listeners.values())
        self._fds = (_open_descriptors() - before) | self._listeners

    def _bind(self, kind: int, fd: int) -> zmq.Socket[bytes]:
        made = self.context.socket(kind, socket_class=WholeMessageSocket)
        made.linger = LINGER_MS
        if kind == zmq.ROUTER:
            made.router_handover = 1  # a client that reconnects under its old identity is heard (libzmq 2892)
        else:
            made.sndhwm = SEND_HIGH_WATER
        os.set_blocking(fd, False)
        made.setsockopt(zmq.USE_FD, fd)
        made.bind(f"ipc:///handed-over/{fd}")  # a name for libzmq only: nothing is created there
        return made

    def _wire(self, publishing: Publishing) -> None:
        service = self.service
        port = IopubPort(self.iopub_socket, publishing.welcome)
        service.watch(self.iopub_socket.FD, self._outbox.flush)
        service.watch(self._timer.fd, self._flush_late)
        service.watch(self._hb_socket.FD, self._first_heartbeat)
        for fd in self.capture.fds:
            service.watch(fd, self._output)
        self._outbox.connect(port, self._timer.arm)
        service.io_loop.add_callback(self._outbox.spare_this_thread)

    def start(self) -> None:
        """Start the service thread. Everything that it watches must be in place."""
        self.service.start()

    def _flush_late(self) -> None:
        self._timer.acknowledge()
        self._outbox.flush()

    def _output(self) -> None:
        if not self._outbox.backlogged and self.capture.try_drain():
            return
        for fd in self.capture.fds:
            self.service.unwatch(fd)
        self.service.later(PAUSE_SECONDS, self._watch_output)

    def _watch_output(self) -> None:
        for fd in self.capture.fds:
            self.service.watch(fd, self._output)

    def _first_heartbeat(self) -> None:
        if FrameSender(self._hb_socket).has_input():
            self.service.unwatch(self._hb_socket.FD)
            Heartbeat(self._hb_socket).start()

    def close(self) -> None:
        """Send what is queued, as far as clients still read, then close all. The process ends after this."""
        self._outbox.flush()
        self.context.destroy(linger=LINGER_MS)

    def dismantle(self) -> None:
        """Take all down without waiting for clients, in a process that goes on. The streams' descriptors dangle."""
        self.service.finish()
        self.shell.finish()
        IOLoop.current().close()
        self.context.destroy(linger=0)
        self.capture.close()
        os.close(self._timer.fd)

    def abandon(self) -> None:
        """In a forked child of a live kernel: let go of the parent's connection."""
        _graveyard.append(self)
        paths = {_local_address(fd) for fd in self._listeners}
        for fd in self._fds | _accepted_from(paths):
            with contextlib.suppress(OSError):  # closed since by the parent
                os.close(fd)


def _open_descriptors() -> set[int]:
    listed = {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}
    return {fd for fd in listed if _is_open(fd)}  # without the listing's own


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _local_address(fd: int) -> str | bytes | None:
    probe = socket.socket(fileno=os.dup(fd))
    with probe:
        return probe.getsockname() or None if probe.family == socket.AF_UNIX else None


def _accepted_from(paths: set[str | bytes | None]) -> set[int]:
    """Descriptors of connections that were accepted by sockets listening at ``paths``."""
    found = set()
    for fd in _open_descriptors():
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            address = _local_address(fd)
            if address is not None and address in paths:
                found.add(fd)
    return found
