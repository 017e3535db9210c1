"""Orders to a kernel over its control socket, and what it says to them. Nothing that it says is trusted.

What an answer may be, how long it may take and how much else may come before it is bounded here; a kernel is listened
to only while it is asked something, so that one that talks on and on fills its own socket.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from ..errors import ConflictError, NoCapacityError, NotFoundError
from . import datagrams
from .waiting import receive

MAX_STRAY = 64
"""Messages that answer nothing, before a kernel counts as broken."""
ENDED = "The kernel has ended."
_UNREACHED = "The kernel has ended, or its code has closed the connection to its supervisor."
BROKEN = "The kernel does not obey its supervisor."


class Orders:
    """The supervisor's end of a kernel's control socket."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        sock.settimeout(0)
        self._sock = sock
        self._ids = itertools.count(1)
        self._busy = False
        self._listeners = 0
        self._closed = False

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """One conversation at a time. Raises ConflictError."""
        if self._busy:
            raise ConflictError("Something else is being done with this kernel.")
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def give(self, op: str, fds: Sequence[int] = (), **more: Any) -> int:
        """Send an order; its number. Raises NotFoundError, NoCapacityError."""
        number = next(self._ids)
        self.send({"op": op, "id": number, **more}, fds)
        return number

    def send(self, body: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Send a message. Raises as ``give``."""
        try:
            datagrams.send(self._sock, body, fds)
        except BlockingIOError:
            raise NoCapacityError(BROKEN) from None  # it reads nothing, and lets its socket fill up
        except (datagrams.PeerClosedError, OSError):
            raise NotFoundError(_UNREACHED) from None

    async def hear(self, events: Collection[str], seconds: float, number: int | None = None) -> datagrams.Datagram:
        """The next of these events, that is to the order of this number. What comes before it is dropped.

        Raises NotFoundError if the kernel ends or this is closed, NoCapacityError if it says nothing of that in time.
        """
        self._listeners += 1
        try:
            async with asyncio.timeout(seconds):
                for _ in range(MAX_STRAY):
                    told = await receive(self._sock)
                    if told.body.get("event") in events and (number is None or told.body.get("id") == number):
                        return told
                    told.close_fds()
        except TimeoutError:
            raise NoCapacityError(f"The kernel did not answer within {seconds:.0f} s.") from None
        except (datagrams.PeerClosedError, OSError):
            raise NotFoundError(_UNREACHED) from None
        except (ValueError, RecursionError):
            raise NoCapacityError(BROKEN) from None
        finally:
            self._listeners -= 1
            if self._closed and not self._listeners:
                self._sock.close()
        raise NoCapacityError(BROKEN)

    def close(self) -> None:
        """A kernel that hears this ends, and who listens to it hears that it has. Idempotent."""
        if not self._listeners:
            self._sock.close()
        elif not self._closed:
            # Closed now, it would never be readable again, and its number could soon be another one's.
            with suppress(OSError):  # the kernel has ended already
                self._sock.shutdown(socket.SHUT_RDWR)
        self._closed = True
