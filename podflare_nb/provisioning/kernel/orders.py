"""What the supervisor orders of a live kernel, over its ctl: fork, variables, settle, rekey, retire, inherit,
environment.

Read in the service thread, which answers what it can and hands the rest to the main thread: as a ``Claim``, which the
main thread takes between two requests, or never: when its time is up it is withdrawn, and the order refused. One at a
time waits. What the main thread then does is ``live_fork``'s and ``inspection``'s; ``attach`` calls them.

What was ordered before a request was sent is done before that request: the main thread begins none while there is an
order that the service thread has not dealt with.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .. import datagrams
from .audience import SECONDS as AUDIENCE_SECONDS
from .audience import TELLING_SECONDS
from .descriptors import lift
from .late_answers import unsealed
from .transport import Transport

LONGEST_WAIT_SECONDS = 3600.0
VARIABLES_WAIT_SECONDS = 1.0
STANDSTILL_SECONDS = 30.0
"""How long a kernel that is to be succeeded begins nothing, if it then hears no more of that."""
MAX_CHILDREN = 32
_NOT_LOOKED_FOR = object()
_exit, _poll = os._exit, select.poll  # the user may put something else in their places


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


class Orders:
    """``rekey(key)`` is told of a new key. All but ``take``, ``taken`` and ``done`` run in the service thread."""

    def __init__(self, ctl: socket.socket, transport: Transport, rekey: Callable[[bytes], None]) -> None:
        self.ctl = ctl
        self._transport = transport
        self._rekey = rekey
        self._lock = threading.Lock()
        self._waiting: Claim | None = None
        self._taken: Claim | None = None
        self._reading = False
        self._standstill: asyncio.TimerHandle | None = None
        self._for_audience = False
        transport.shell.between = self.take
        transport.audience.complete = lambda: transport.loop.call_soon_threadsafe(self._look)

    def watch(self) -> None:
        """Obey from now on."""
        self._transport.service.watch(self.ctl.fileno(), self.read)

    def read(self) -> None:
        """Read one order. Without a supervisor there is no kernel, even in the middle of a cell."""
        self._reading = True
        try:
            self._read()
        finally:
            self._reading = False

    def _read(self) -> None:
        try:
            order = datagrams.receive(self.ctl)
        except datagrams.DescriptorsLostError as error:
            self.refuse(datagrams.Datagram(error.body, []), "failed", str(error))
            return
        except (datagrams.PeerClosedError, OSError):
            _exit(0)
        try:
            self.obey(order)
        except datagrams.PeerClosedError:
            _exit(0)
        except (KeyError, TypeError, ValueError) as error:
            order.close_fds()
            self.refuse(order, "wrong", f"the order cannot be read: {error}")

    def obey(self, order: datagrams.Datagram) -> None:
        """Do it, or hand it on."""
        lift(order.fds)
        operation = order.body.get("op")
        if operation == "fork":
            n = int(order.body["n"])
            if not 1 <= n <= MAX_CHILDREN or len(order.fds) != n:
                raise ValueError(f"{n} children with {len(order.fds)} descriptors")
            self._claim(Claim(order, min(float(order.body["wait_seconds"]), LONGEST_WAIT_SECONDS)))
        elif operation == "variables":
            self._claim(Claim(order, float(order.body.get("wait_seconds", VARIABLES_WAIT_SECONDS))))
        elif operation == "settle":
            self._claim(Claim(order, float(order.body["wait_seconds"])))
        elif operation == "retire":
            self._claim(Claim(order, float(order.body["wait_seconds"])))
            self._transport.loop.call_soon_threadsafe(self._stand_still_no_more)  # claimed before: nothing else begins
        elif operation == "inherit":
            self._inherit(order)
        else:
            order.close_fds()
            if operation == "go_on":
                self._transport.loop.call_soon_threadsafe(self.done)
            elif operation == "environment":
                change_environment(order.body["set"], order.body["unset"])
            elif operation == "rekey":
                self._transport.audience.expect_some()
                self._transport.service.later(TELLING_SECONDS, self._transport.audience.give_up)
                self._rekey(order.body["key"].encode())
                datagrams.send(self.ctl, {"event": "rekeyed", "id": order.body.get("id")})
            else:
                self.refuse(order, "unknown", f"a kernel does not know the order {operation!r}")

    def _claim(self, claim: Claim) -> None:
        with self._lock:
            free = self._waiting is None  # it may wait for the end of one that was taken
            if free:
                self._waiting = claim
        if not free:
            self._give_up(claim, "another order is waiting")
            return
        service = self._transport.service
        service.later(max(claim.wait_seconds, 0.0), lambda: self._withdraw(claim))
        self._transport.loop.call_soon_threadsafe(self._look)

    def _inherit(self, order: datagrams.Datagram) -> None:
        """Wait for those who listened to the predecessor, and give its clients the answers that it could not."""
        transport = self._transport
        transport.audience.expect(int(order.body["subscribers"]))
        transport.service.later(AUDIENCE_SECONDS, transport.audience.give_up)
        if order.fds:
            answers = unsealed(order.fds.pop())
            transport.loop.call_soon_threadsafe(transport.late_answers.deliver, answers)

    def _look(self) -> None:
        """In the main thread: requests and claims go on, if nothing stands still but for want of an audience."""
        if self._for_audience:
            self._for_audience = False
            self._transport.shell.release()
        else:
            self._transport.shell.look()

    def _withdraw(self, claim: Claim) -> None:
        with self._lock:
            withdrawn = self._waiting is claim
            if withdrawn:
                self._waiting = None
        if withdrawn:
            self._give_up(claim, "code is still running")

    def _give_up(self, claim: Claim, why: str) -> None:
        claim.order.close_fds()
        self.refuse(claim.order, "busy", why)

    def refuse(self, order: datagrams.Datagram, code: str, error: str, **more: Any) -> None:
        """Answer that it was not done."""
        answer = {"event": "refused", "id": order.body.get("id"), "code": code, "error": error}
        datagrams.send(self.ctl, {**answer, **more})

    def take(self) -> bool:
        """In the main thread, between requests: whether these have to wait, for orders that have come but are not dealt
        with, or for the claim that waits, which is taken, and the loop stopped for it."""
        if self._unread() or self._reading:  # in this order: one that is no longer unread is being read, or done
            self._transport.service.io_loop.add_callback(self._look_again)  # behind the order that it is at
            return True
        with self._lock:
            awaited, pending = self._transport.audience.awaited, self._transport.shell.pending
            if self._waiting is None or self._waiting.comes_after_one_of(pending, awaited=awaited):
                self._for_audience = awaited
                return awaited
            self._taken, self._waiting = self._waiting, None
        self._transport.loop.stop()
        return True

    def _unread(self) -> bool:
        if self.ctl.fileno() < 0:
            return False  # the user has closed it: nothing can be ordered any more, but code can run
        poll = _poll()
        poll.register(self.ctl, select.POLLIN)
        return bool(poll.poll(0))

    def _look_again(self) -> None:
        self._transport.loop.call_soon_threadsafe(self._transport.shell.release)

    @property
    def taken(self) -> Claim | None:
        """The claim that the loop was stopped for."""
        return self._taken

    def settled(self) -> None:
        """In the main thread: nothing is under way. With ``hold`` nothing is begun until "go_on" is ordered: another
        kernel is about to take this one's place."""
        order = self._taken.order if self._taken is not None else datagrams.Datagram({}, [])
        datagrams.send(self.ctl, {"event": "settled", "id": order.body.get("id")})
        if not order.body.get("hold"):
            self.done()
            return
        self._taken = None
        self._standstill = self._transport.loop.call_later(STANDSTILL_SECONDS, self.done)

    def _stand_still_no_more(self) -> None:
        if self._taken is None:  # else the standstill had ended before
            self.done()

    def done(self) -> None:
        """In the main thread: the claim has been dealt with; requests go on."""
        if self._standstill is not None:  # of this one: it must not end the next one's
            self._standstill.cancel()
        if self._taken is not None:
            self._taken.order.close_fds()
        with self._lock:
            self._taken = None
        self._transport.shell.release()


def change_environment(values: dict[str, str], gone: list[str]) -> None:
    """Where the network leads has changed: what is started from now on finds it so. In the service thread, at once,
    even in the middle of a cell."""
    for name in gone:
        os.environ.pop(name, None)
    os.environ.update(values)
