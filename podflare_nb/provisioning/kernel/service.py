"""The kernel's second thread: control messages, subscriptions, output of children, late flushes, the first heartbeat.

It must never wait for the main thread, which may be in a cell for hours. Debuggers leave it running when they stop
the others. Named "Control", which is how ipykernel knows that a message came by the control channel.
"""

from __future__ import annotations

import _thread
import asyncio
import contextvars
import errno
import threading
import time
from collections.abc import Callable
from typing import Any

import zmq
from tornado.ioloop import IOLoop

from . import signal_mask

THREAD_NAME = "Control"
AGAIN_SECONDS = 0.01
_sleep, _start_new = time.sleep, _thread.start_new_thread  # the user may put something else in their places


class ServiceThread:
    """Runs ``io_loop``, a tornado loop of its own, in a thread that can be halted and resumed.

    A live fork halts it: a fork copies no other thread, but the locks that it holds and what its frames refer to.
    """

    def __init__(self) -> None:
        self.io_loop = IOLoop(make_current=False, asyncio_loop=asyncio.SelectorEventLoop())  # whatever policy is set
        # Not the main thread's: it holds the request that a print there answers, of the time when this was made.
        self._context = contextvars.Context()
        self._thread = Service(self.io_loop, None)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def halt(self, seconds: float) -> bool:
        """Let the thread end, for ``resume`` to start another; False: it did not within the time, and may still."""
        self.io_loop.add_callback(self.io_loop.stop)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def resume(self) -> None:
        """Go on after ``halt``, whatever that returned. Waits for room if the user's own threads have taken it all."""
        successor = Service(self.io_loop, self._thread)
        while True:
            try:
                successor.start()
            except RuntimeError:
                _sleep(AGAIN_SECONDS)
            else:
                self._thread = successor
                return

    def finish(self) -> None:
        """Stop the loop, wait for the thread, close the loop."""
        self.io_loop.add_callback(self.io_loop.stop)
        self._thread.join()
        self.io_loop.close()

    def watch(self, fd: int, readable: Callable[[], None]) -> None:
        """Call when a descriptor is readable. Before the thread starts, or in it."""
        self._context.run(self.loop.add_reader, fd, readable)

    def unwatch(self, fd: int) -> None:
        """Stop watching. In the thread."""
        self.loop.remove_reader(fd)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call once after some time. In the thread."""
        self._context.run(self.loop.call_later, seconds, call)

    @property
    def loop(self) -> Any:
        """The asyncio loop below."""
        return self.io_loop.asyncio_loop


def room_for_a_thread() -> bool:
    """Whether a thread can be started now: what is halted without could not be resumed."""
    ended = _thread.allocate_lock()
    ended.acquire()
    try:
        _start_new(ended.release, ())
    except RuntimeError:
        return False
    ended.acquire()
    return True


class Service(threading.Thread):
    """The thread. ``predecessor``: a halted one; it is waited for."""

    def __init__(self, io_loop: IOLoop, predecessor: Service | None) -> None:
        super().__init__(name=THREAD_NAME, daemon=True)
        self._io_loop = io_loop
        self._predecessor = predecessor
        # pydevd reads these: a breakpoint must not stop the thread that serves the debugger
        self.pydev_do_not_trace = True
        self.is_pydev_daemon_thread = True

    def run(self) -> None:
        """Run until the process ends, or the loop is stopped."""
        signal_mask.block(signal_mask.ALL)  # they are the main thread's
        if self._predecessor is not None:
            self._predecessor.join()
            self._predecessor = None
        self._io_loop.start()


class Heartbeat(threading.Thread):
    """Echoes heartbeats without the GIL. Most kernels never get one, so it starts with the first."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        super().__init__(name="Heartbeat", daemon=True)
        self._socket = socket
        self.pydev_do_not_trace = True
        self.is_pydev_daemon_thread = True

    def run(self) -> None:
        """Echo until the process ends."""
        while True:
            try:
                zmq.proxy(self._socket, self._socket)
            except zmq.ZMQError as error:
                if error.errno != errno.EINTR:
                    return  # the context is closed: the kernel ends
