"""Answers that a kernel could not give its clients any more, because another one has taken its place: that one does.

Clients find their way to it by themselves, under the identity that they had, some hundred milliseconds after their
connection ended (ZMQ_RECONNECT_IVL). They are the successor's own messages by then: it has its predecessor's key.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress

import zmq

from .frames import FrameSender

SECONDS = 10.0
"""How long a client may take to come back."""
PAUSE_SECONDS = 0.02
MAX_BYTES = 64 * 1024 * 1024
Frames = Sequence[bytes]


class LateAnswers:
    """What is to be sent through a ROUTER socket to clients who are not there yet. In the thread that uses it."""

    def __init__(self, router: zmq.Socket[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self.undelivered: list[Frames] = []
        self._router, self._loop = router, loop
        self._until = 0.0

    def deliver(self, answers: Sequence[Frames]) -> None:
        """Send them, each as soon as its client is there; in time, or never."""
        self.undelivered += answers
        self._until = time.monotonic() + SECONDS
        self._deliver()

    def _deliver(self) -> None:
        # Only now: an answer to a client that has gone is otherwise dropped without a word, as it should be.
        self._router.router_mandatory = 1
        try:
            self.undelivered = [each for each in self.undelivered if not self._sent(each)]
        finally:
            self._router.router_mandatory = 0
            if self.undelivered and time.monotonic() < self._until:
                self._loop.call_later(PAUSE_SECONDS, self._deliver)

    def _sent(self, frames: Frames) -> bool:
        try:
            return FrameSender(self._router).send(frames, [])
        except zmq.ZMQError as error:
            if error.errno == errno.EHOSTUNREACH:
                return False
            raise


def sealed(answers: Sequence[Frames]) -> int:
    """A descriptor of a file in memory that holds them."""
    fd = os.memfd_create("late answers", os.MFD_CLOEXEC)
    with open(fd, "w", encoding="ascii", closefd=False) as file:
        json.dump([[frame.decode("latin-1") for frame in frames] for frames in answers], file)
    return fd


def unsealed(fd: int) -> list[Frames]:
    """What such a descriptor holds; closes it. Raises ValueError if these are none: a user's code may have made it."""
    try:
        held = json.loads(os.pread(fd, MAX_BYTES, 0))
        return [[frame.encode("latin-1") for frame in frames] for frames in held]
    except (OSError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"these are no answers: {error}") from error
    finally:
        with suppress(OSError):
            os.close(fd)
