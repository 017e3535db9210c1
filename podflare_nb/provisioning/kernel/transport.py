"""A kernel's live connection: ZeroMQ sockets on listening descriptors, the service thread, the capture of output.

Made anew in every process that becomes a kernel; nothing of it exists in a template. A forked child of a *live*
kernel holds a dead copy: its threads do not exist there, its sockets answer to the parent's clients. ``owns`` tells
its descriptors, which the child closes; ``abandon`` makes sure that finalising its objects touches nothing: not the
parent's epoll, which the child's shares, and no descriptor that has another meaning by now. (pyzmq knows by the pid
that a context is not this process's; some 200 KB of libzmq's own memory stay behind.) Knows ZeroMQ and tornado; knows
nothing of ipykernel (``ipykernel_seam`` plugs the kernel in).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any

import zmq
from tornado.ioloop import IOLoop

from .audience import Audience
from .capture import Capture
from .descriptors import Descriptor, Held, listed, local_address, numbers
from .frames import FrameSender, WholeMessageSocket
from .hanging_up import accepted, hang_up
from .interrupts import Interrupts
from .late_answers import Frames, LateAnswers
from .outbox import FLUSH_SECONDS, Outbox
from .service import Heartbeat, ServiceThread
from .shell_channel import ShellChannel
from .timer import Timer

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
SHELL_INPROC = "inproc://shell"
"""The shell channel's address for the kernel's own debugger."""
PAUSE_SECONDS = 0.02
SEND_HIGH_WATER = 256
"""Messages in a subscriber's queue before publishers wait for it; a stream message has at most 64 KiB of text."""
LINGER_MS = 1000
"""How long clients who do not read are waited for at the end."""


class IopubPort:
    """The publishing socket; the outbox sees to it that one thread at a time uses it."""

    def __init__(
        self, iopub: zmq.Socket[bytes], welcome: Callable[[bytes], Sequence[bytes]], audience: Audience
    ) -> None:
        self._socket = iopub
        self._audience = audience
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
        self._audience.arrive(len(welcomes))
        return welcomes


@dataclass(frozen=True, slots=True)
class Publishing:
    """How the transport reaches what publishes: the outbox, and makers of what it cannot make itself."""

    outbox: Outbox
    welcome: Callable[[bytes], Sequence[bytes]]
    captured: Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Departure:
    """What a kernel leaves to who listens in its place: answers to give, and how many come again to listen."""

    late_answers: list[Frames]
    subscribers: int


class Transport:
    """Sockets, service thread and capture of one kernel process. ``start`` begins to serve.

    ``listeners``: descriptor of each of CHANNELS; ``cells``: the context that requests are handled in; ``held``: of
    who is made a kernel before it has a root of its own.
    """

    def __init__(
        self,
        listeners: Mapping[str, int],
        publishing: Publishing,
        interrupts: Interrupts,
        cells: Context,
        held: Held | None = None,
    ) -> None:
        before = {each.fd for each in listed(numbers(held))}
        self._outbox = publishing.outbox
        self.loop = asyncio.get_event_loop_policy().get_event_loop()
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.service = ServiceThread()
        self.shell_socket = self._bind(zmq.ROUTER, listeners["shell"])
        self.shell_socket.bind(SHELL_INPROC)
        self.stdin_socket = self._bind(zmq.ROUTER, listeners["stdin"])
        self.control_socket = self._bind(zmq.ROUTER, listeners["control"])
        self.iopub_socket = self._bind(zmq.XPUB, listeners["iopub"])
        self._hb_socket = self._bind(zmq.ROUTER, listeners["hb"])
        self.shell = ShellChannel(self.shell_socket, interrupts, cells)
        self.capture = Capture(publishing.captured)
        self.audience = Audience()
        self._timer = Timer(FLUSH_SECONDS)
        self._wire(publishing)
        ours = (set(numbers(held)) - before).union(listeners.values(), _of_loop(self.loop))
        self._identities = {each.fd: (each.device, each.inode) for each in listed(ours)}
        self._listeners = listeners
        self.late_answers = LateAnswers(self.shell_socket, self.loop)
        named = map(local_address, listeners.values())
        self.addresses = frozenset(each for each in named if each is not None)
        """Of its own listening sockets, and of each connection that was accepted there."""

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
        port = IopubPort(self.iopub_socket, publishing.welcome, self.audience)
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

    def take_output(self) -> None:
        """Queue what was written to the captured descriptors until now. The service thread waits for nobody at it."""
        if self._outbox.never_waits:
            self.capture.try_drain()
        else:
            self.capture.drain()

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
        """Send what is queued, as far as clients still read, then close all. Nothing is served after this."""
        self._outbox.flush()
        self.context.destroy(linger=LINGER_MS)

    def leave(self) -> Departure:
        """Handle what has come and hang up, in a process that only waits for its end: clients find who listens where
        this one did. In the main thread."""
        self.service.finish()
        busy = self.loop.run_until_complete(self.shell.exhaust())
        subscribers = self.audience.missing
        with contextlib.suppress(OSError, zmq.ZMQError):  # no descriptor is left: they end as libzmq ends them
            subscribers += len(accepted(self._listeners["iopub"]))
            hang_up(self.shell_socket, self._listeners["shell"], self.shell.receive, busy=busy)
        late = [*self.late_answers.undelivered]
        self.shell.reply = late.append
        self.loop.run_until_complete(self.shell.exhaust())
        self.close()
        return Departure(late, subscribers)

    def dismantle(self) -> None:
        """Take all down without waiting for clients, in a process that goes on. The streams' descriptors dangle."""
        self.service.finish()
        self.shell.finish()
        IOLoop.current().close()
        self.context.destroy(linger=0)
        self.capture.close()
        os.close(self._timer.fd)

    def owns(self, descriptor: Descriptor) -> bool:
        """Whether it is part of this connection, or of a client's that was accepted."""
        if self._identities.get(descriptor.fd) == (descriptor.device, descriptor.inode):
            return True  # the number alone would not do: the user may have closed ours and got it for a file
        return descriptor.is_socket and local_address(descriptor.fd) in self.addresses

    def abandon(self) -> None:
        """In a forked child of a live kernel, whose copies of the descriptors are closed: let go of the objects."""
        _forget(self.loop)
        _forget(self.service.loop)


def _of_loop(loop: Any) -> frozenset[int]:
    return frozenset({loop._selector.fileno(), loop._ssock.fileno(), loop._csock.fileno()})  # noqa: SLF001  # nothing public tells


def _forget(loop: Any) -> None:
    """Close a loop whose descriptors are gone, so that its end changes nothing.

    What was scheduled there will never run. Its pending tasks are kept: to end them would run the user's code.
    """
    tasks = [task for task in asyncio.all_tasks(loop) if not task.done()]
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001  # as asyncio.gather does
    _left_pending.extend(tasks)
    for each in (loop._ssock, loop._csock):  # noqa: SLF001
        each.detach()
    loop._selector._selector.close()  # noqa: SLF001
    loop._ready.clear()  # noqa: SLF001
    loop._scheduled.clear()  # noqa: SLF001
    loop._closed = True  # noqa: SLF001


_left_pending: list[asyncio.Task[Any]] = []
"""The user's tasks of an abandoned loop."""
