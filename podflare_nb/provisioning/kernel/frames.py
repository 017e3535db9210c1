"""Sends a message's frames through ZeroMQ so that no signal handler can tear it.

A Python signal handler runs between two byte codes of the main thread, or inside pyzmq's send, and may raise there
(KeyboardInterrupt, or a user's SIGALRM timeout). A multipart message that is cut in the middle would swallow the
start of the next one. So libzmq is called directly and all frames go out within one call into C code: ``list.extend``
over ``takewhile`` over ``map``, during which no handler runs. What was sent stands in a list of the caller's, so that
a message which libzmq itself refused midway can be completed later, by any thread. Stands on libzmq; ``outbox`` and
``transport`` stand on it.
"""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Sequence
from itertools import repeat, takewhile

import zmq
from zmq.backend.cython import _zmq

# PyDLL keeps the GIL: with DONTWAIT nothing blocks, and giving the GIL up costs more than the send.
_LIBZMQ = ctypes.PyDLL(_zmq.__file__, use_errno=True)
_SEND = _LIBZMQ.zmq_send
_SEND.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
_SEND.restype = ctypes.c_int
_GETSOCKOPT = _LIBZMQ.zmq_getsockopt
_GETSOCKOPT.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_EVENTS = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)
_LAST = (int(zmq.DONTWAIT),)
_MORE = int(zmq.DONTWAIT | zmq.SNDMORE)
_SUCCEEDED = (-1).__ne__
_RETRY = frozenset({errno.EAGAIN, errno.EINTR})


class FrameSender:
    """Sends on one socket; the caller sees to it that one thread at a time uses it."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._handle = ctypes.c_void_p(socket.underlying)
        self._events = ctypes.c_int()
        self._size = ctypes.c_size_t(ctypes.sizeof(self._events))
        self._addresses = ctypes.addressof(self._events), ctypes.addressof(self._size)

    def has_input(self) -> bool:
        """Whether a message waits to be received."""
        _GETSOCKOPT(self._handle, _EVENTS, *self._addresses)
        return bool(self._events.value & _POLLIN)

    def send(self, frames: Sequence[bytes], sent: list[int]) -> bool:
        """Send what ``sent`` does not yet list of ``frames``. False: not now (full or interrupted), call again.

        Raises zmq.ZMQError when the socket cannot send at all.
        """
        rest = frames[len(sent) :]
        if not rest:
            return True
        flags = (_MORE,) * (len(rest) - 1) + _LAST
        sent.extend(takewhile(_SUCCEEDED, map(_SEND, repeat(self._handle), rest, map(len, rest), flags)))
        if len(sent) == len(frames):
            return True
        code = ctypes.get_errno()
        if code in _RETRY:
            return False
        raise zmq.ZMQError(code)


class WholeMessageSocket(zmq.Socket[bytes]):
    """A socket whose ``send_multipart`` cannot be torn by a signal handler that raises. Waits while it is full."""

    def send_multipart(  # type: ignore[override]  # always copies and never tracks, whatever it is told
        self, msg_parts: Sequence[zmq.Frame | bytes], flags: int = 0, *_: object, **__: object
    ) -> None:
        """Send all parts, or none when ``flags`` has NOBLOCK and the socket is full (raises zmq.Again)."""
        frames = [part.bytes if isinstance(part, zmq.Frame) else bytes(part) for part in msg_parts]
        sent: list[int] = []
        sender = FrameSender(self)
        while not sender.send(frames, sent):
            if flags & zmq.NOBLOCK:
                raise zmq.Again
            self.poll(10, zmq.POLLOUT)
