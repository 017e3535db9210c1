"""What the supervisor orders of a live kernel, over its ctl: fork, variables, settle, rekey, retire, inherit,
environment.

Read in the service thread, which does what it can and hands the rest to the main thread (``claims``). What that then
does is ``live_fork``'s and ``inspection``'s; ``attach`` calls them.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from typing import Any

from .. import datagrams
from .audience import SECONDS as AUDIENCE_SECONDS
from .audience import TELLING_SECONDS
from .claims import Claim, Claims
from .descriptors import lift
from .late_answers import unsealed
from .transport import Transport

LONGEST_WAIT_SECONDS = 3600.0
VARIABLES_WAIT_SECONDS = 1.0
MAX_CHILDREN = 32
_exit, _poll = os._exit, select.poll  # the user may put something else in their places


class Orders:
    """``rekey(key)`` is told of a new key. In the service thread, but for ``settled``, ``refuse`` and ``claims``."""

    def __init__(self, ctl: socket.socket, transport: Transport, rekey: Callable[[bytes], None]) -> None:
        self.ctl = ctl
        self.claims = Claims(transport, self._undone, lambda order, why: self.refuse(order, "busy", why))
        self._transport = transport
        self._rekey = rekey
        self._reading = False

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

    def _undone(self) -> bool:
        """Whether an order has come that is not dealt with. In the main thread."""
        return self._unread() or self._reading  # in this order: one that is no longer unread is being read, or done

    def _unread(self) -> bool:
        if self.ctl.fileno() < 0:
            return False  # the user has closed it: nothing can be ordered any more, but code can run
        poll = _poll()
        poll.register(self.ctl, select.POLLIN)
        return bool(poll.poll(0))

    def obey(self, order: datagrams.Datagram) -> None:
        """Do it, or hand it on."""
        lift(order.fds)
        operation = order.body.get("op")
        if operation == "fork":
            n = int(order.body["n"])
            if not 1 <= n <= MAX_CHILDREN or len(order.fds) != n:
                raise ValueError(f"{n} children with {len(order.fds)} descriptors")
            self.claims.add(Claim(order, min(float(order.body["wait_seconds"]), LONGEST_WAIT_SECONDS)))
        elif operation == "variables":
            self.claims.add(Claim(order, float(order.body.get("wait_seconds", VARIABLES_WAIT_SECONDS))))
        elif operation == "settle":
            self.claims.add(Claim(order, float(order.body["wait_seconds"])))
        elif operation == "retire":
            self.claims.add(Claim(order, float(order.body["wait_seconds"])))
            self.claims.end_standstill()  # it is claimed before: nothing else begins
        elif operation == "inherit":
            self._inherit(order)
        else:
            order.close_fds()
            if operation == "go_on":
                self.claims.end_standstill()
            elif operation == "environment":
                change_environment(order.body["set"], order.body["unset"])
            elif operation == "rekey":
                self._take_place(order)
            else:
                self.refuse(order, "unknown", f"a kernel does not know the order {operation!r}")

    def _take_place(self, order: datagrams.Datagram) -> None:
        """Have the key of another kernel, whose clients come from now on."""
        audience = self._transport.audience
        audience.expect_some()
        self._transport.service.later(TELLING_SECONDS, audience.give_up)
        self._rekey(order.body["key"].encode())
        datagrams.send(self.ctl, {"event": "rekeyed", "id": order.body.get("id")})

    def _inherit(self, order: datagrams.Datagram) -> None:
        """Wait for those who listened to the predecessor, and give its clients the answers that it could not."""
        transport = self._transport
        transport.audience.expect(int(order.body["subscribers"]))
        transport.service.later(AUDIENCE_SECONDS, transport.audience.give_up)
        if order.fds:
            answers = unsealed(order.fds.pop())
            transport.loop.call_soon_threadsafe(transport.late_answers.deliver, answers)

    def settled(self, order: datagrams.Datagram) -> None:
        """Nothing is under way. With ``hold`` nothing is begun until "go_on" or "retire" is ordered."""
        datagrams.send(self.ctl, {"event": "settled", "id": order.body.get("id")})
        if order.body.get("hold"):
            self.claims.stand_still()
        else:
            self.claims.done()

    def refuse(self, order: datagrams.Datagram, code: str, error: str, **more: Any) -> None:
        """Answer that it was not done."""
        answer = {"event": "refused", "id": order.body.get("id"), "code": code, "error": error}
        datagrams.send(self.ctl, {**answer, **more})


def change_environment(values: dict[str, str], gone: list[str]) -> None:
    """Where the network leads has changed: what is started from now on finds it so. In the service thread, at once,
    even in the middle of a cell."""
    for name in gone:
        os.environ.pop(name, None)
    os.environ.update(values)
