"""Orders that need the main thread: it takes them between two requests, or never.

The service thread hands them on as a ``Claim`` (``orders``); when its time is up it is withdrawn, the order refused.
One at a time waits. What was ordered before a request was sent is done before that request: the main thread begins none
while there is an order that the service thread has not dealt with. Nor does it while an ``Audience`` is awaited.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .. import datagrams
from .transport import Transport

STANDSTILL_SECONDS = 30.0
"""How long a kernel that is to be succeeded begins nothing, if it then hears no more of that."""
_NOT_LOOKED_FOR = object()


@dataclass(eq=False, slots=True)
class Claim:
    """An order that needs the main thread. Its descriptors belong to whoever has the claim.

    ``last``: of one to settle, the last request that is begun before it, once it was looked for.
    """

    order: datagrams.Datagram
    wait_seconds: float
    last: Any = _NOT_LOOKED_FOR

    def comes_after_one_of(self, pending: Sequence[Any], *, awaited: bool) -> bool:
        """Whether it has to wait for its turn: the order to settle is behind all that has been asked before, and behind
        those who are ``awaited``: what a kernel answers that ends before they listen reaches nobody.
        In the main thread."""
        if self.order.body["op"] != "settle":
            return False
        if awaited:
            return True
        if self.last is _NOT_LOOKED_FOR:
            self.last = next((each for each in reversed(pending) if each is not None), None)
        return self.last is not None and any(each is self.last for each in pending)


class Claims:
    """``undone()``: whether orders have come that are not dealt with yet; ``refuse(order, why)`` answers one.

    All but ``add`` and ``end_standstill`` is the main thread's.
    """

    def __init__(
        self, transport: Transport, undone: Callable[[], bool], refuse: Callable[[datagrams.Datagram, str], None]
    ) -> None:
        self.taken: Claim | None = None
        """The claim that the loop was stopped for."""
        self._transport = transport
        self._undone, self._refuse = undone, refuse
        self._lock = threading.Lock()
        self._waiting: Claim | None = None
        self._standstill: asyncio.TimerHandle | None = None
        self._for_audience = False
        transport.shell.between = self.take
        transport.audience.complete = lambda: transport.loop.call_soon_threadsafe(self.look)

    def add(self, claim: Claim) -> None:
        """Let it wait for the main thread. In the service thread."""
        with self._lock:
            free = self._waiting is None  # it may wait for the end of one that was taken
            if free:
                self._waiting = claim
        if not free:
            self._give_up(claim, "another order is waiting")
            return
        self._transport.service.later(max(claim.wait_seconds, 0.0), lambda: self._withdraw(claim))
        self._transport.loop.call_soon_threadsafe(self.look)

    def _withdraw(self, claim: Claim) -> None:
        with self._lock:
            withdrawn = self._waiting is claim
            if withdrawn:
                self._waiting = None
        if withdrawn:
            self._give_up(claim, "code is still running")

    def _give_up(self, claim: Claim, why: str) -> None:
        claim.order.close_fds()
        self._refuse(claim.order, why)

    def look(self) -> None:
        """Requests and claims go on, if nothing stands still but for want of an audience."""
        if self._for_audience:
            self._for_audience = False
            self._transport.shell.release()
        else:
            self._transport.shell.look()

    def take(self) -> bool:
        """Between requests: whether these have to wait, for orders that have come but are not dealt with, for an
        audience, or for the claim that waits, which is taken, and the loop stopped for it."""
        self._for_audience = False
        if self._undone():
            self._transport.service.io_loop.add_callback(self._look_again)  # behind the order that it is at
            return True
        with self._lock:
            awaited, pending = self._transport.audience.awaited, self._transport.shell.pending
            if self._waiting is None or self._waiting.comes_after_one_of(pending, awaited=awaited):
                self._for_audience = awaited
                return awaited
            self.taken, self._waiting = self._waiting, None
        self._transport.loop.stop()
        return True

    def _look_again(self) -> None:
        self._transport.loop.call_soon_threadsafe(self._transport.shell.release)

    def done(self) -> None:
        """What was taken has been dealt with; requests go on."""
        if self._standstill is not None:  # of this one: it must not end the next one's
            self._standstill.cancel()
        if self.taken is not None:
            self.taken.order.close_fds()
            self.taken = None
        self._transport.shell.release()

    def stand_still(self) -> None:
        """What was taken has been dealt with; but no request is begun until ``end_standstill``: another kernel is about
        to take this one's place."""
        self.taken = None
        self._standstill = self._transport.loop.call_later(STANDSTILL_SECONDS, self.done)

    def end_standstill(self) -> None:
        """Go on, unless the standstill has ended by itself. In the service thread."""
        self._transport.loop.call_soon_threadsafe(self._go_on)

    def _go_on(self) -> None:
        if self.taken is None:
            self.done()
