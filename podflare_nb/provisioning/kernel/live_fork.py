"""Forks a live kernel: pause, warn, make sleeping children, go on. In the main thread, between two requests.

The loop stands still and the service thread has ended meanwhile, so that a child inherits no lock of ours and no
frame of a thread that it does not have. The children are the jail's pid 1's (``orphan_fork``), and none of the user's
to wait for. Signals wait until the kernel goes on. Whatever the user's code has
registered, replaced or left behind, the kernel lives on; what it does is called with a deadline (``fork_hooks``).
Above: ``attach``; below: ``inventory``, ``sleeping``.
"""

from __future__ import annotations

import _imp
import mmap
import os
import select
import socket
import time
from dataclasses import dataclass
from typing import Any

from .. import datagrams
from . import fork_hooks, signal_mask
from .descriptors import Held, lift
from .entanglements import Entanglement
from .inventory import Inventory, take
from .ipykernel_seam import TemplateApp
from .orders import Orders
from .service import room_for_a_thread
from .sleeping import Birth, Habits, Sleeper, be_born, bear, calm_down, set_blocked
from .transport import Transport

HALT_SECONDS = 5.0
CONTINUE_SECONDS = 30.0
"""How long the kernel waits to be told to go on."""
IMPORT_SECONDS, LOOK_SECONDS = 2.0, 0.005
"""How long a thread of the user's may go on to import, and how often to look."""
ROOM_BYTES = 32 << 20
"""Address space that a fork needs, and the kernel to go on after it."""
# The user may put something else in their places.
_exit, _monotonic, _sleep, _import_lock_held = os._exit, time.monotonic, time.sleep, _imp.lock_held


@dataclass
class LiveFork:
    """One order to fork."""

    app: TemplateApp
    transport: Transport
    orders: Orders
    order: datagrams.Datagram

    def run(self) -> Sleeper | None:
        """Obey. None in the parent, which goes on as before; in a child what it is now."""
        service = self.transport.service
        child, halted = None, False
        try:
            if hindrance := _hindrance():
                self.orders.refuse(self.order, "failed", hindrance)
                return None
            halted = True
            if service.halt(HALT_SECONDS):
                child = self._pause()
            else:
                self.orders.refuse(self.order, "busy", "the kernel is at a control request")
        except datagrams.PeerClosedError:
            _exit(0)
        except BaseException as error:  # noqa: BLE001  # a signal handler of the user's, at worst: the kernel goes on
            self.orders.refuse(self.order, "failed", f"{type(error).__name__}: {error}"[:500])
        finally:
            if halted and child is None:
                service.resume()
        return child

    def _pause(self) -> Sleeper | None:
        spare = [self.orders.ctl.fileno(), *self.order.fds]
        held = Held.open()
        child = None
        try:
            child = self._fork(take(self.transport, self.app.kernel.interrupts, held, spare))
        finally:
            if child is None:
                held.close()
        return child

    def _fork(self, inventory: Inventory) -> Sleeper | None:
        told = [each.as_json() for each in inventory.entanglements]
        if told and self.order.body.get("strict"):
            self.orders.refuse(self.order, "strict", "there is what cannot come along", warnings=told)
            return None
        self._say("paused", warnings=told)
        troubles = _call_hooks("before", self.app)
        habits = calm_down()
        own = None
        try:
            own = self._bear(inventory, habits, troubles)
            if own is None:
                troubles += self._hold(inventory)
                self._say("continued", warnings=[each.as_json() for each in troubles])
        finally:
            if own is None:
                habits.resume()
        return own

    def _bear(self, inventory: Inventory, habits: Habits, troubles: list[Entanglement]) -> Sleeper | None:
        """Make the children. In each of them what it is; in the parent None, when the supervisor has been told."""

        def become(ctl: int, birth: Birth) -> Sleeper:
            foreign = [fd for fd in self.order.fds if fd != ctl]
            self.order.fds.clear()
            foreign.append(self.orders.ctl.detach())
            child = Sleeper(socket.socket(fileno=ctl), inventory, habits)
            be_born(child, foreign, birth, self.app.abandon)
            return child

        def meanwhile() -> None:
            set_blocked(habits.blocked)  # a function that hangs is broken off by one
            try:
                troubles.extend(_call_hooks("after_in_parent", self.app))
            finally:
                set_blocked(signal_mask.ALL)

        children = bear(self.order.fds, become, meanwhile)
        if children.own is None:
            why = {"error": children.refusal} if children.refusal else {}
            self._say("forked", failed=children.failed, **why)
            self.order.close_fds()  # after that: of a child that there is not, this is what its supervisor hears
        return children.own

    def _hold(self, inventory: Inventory) -> list[Entanglement]:
        """In the parent, until it is told where to go on."""
        until = time.monotonic() + CONTINUE_SECONDS
        poll = select.poll()
        poll.register(self.orders.ctl, select.POLLIN)
        while poll.poll(max(until - time.monotonic(), 0) * 1000):
            order = datagrams.receive(self.orders.ctl)
            if order.body.get("op") == "continue":
                lift(order.fds)
                return inventory.enter(order.fds.pop(0) if order.fds else None)
            self.orders.obey(order)
        return []

    def _say(self, event: str, **more: Any) -> None:
        datagrams.send(self.orders.ctl, {"event": event, "id": self.order.body.get("id"), **more})


def _hindrance() -> str:
    """What a fork would wait for, and perhaps for ever; "" for nothing."""
    if not _room_for_memory():
        return "there is no room for more memory (RLIMIT_AS)"
    if not room_for_a_thread():
        return "there is no room for another thread or process"
    until = _monotonic() + IMPORT_SECONDS
    while _import_lock_held():  # Python takes it around every fork
        if _monotonic() > until:
            return "a thread holds Python's import lock"
        _sleep(LOOK_SECONDS)
    return ""


def _room_for_memory() -> bool:
    try:
        mmap.mmap(-1, ROOM_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except (OSError, MemoryError):
        return False
    return True


def _call_hooks(kind: str, app: TemplateApp) -> list[Entanglement]:
    return [Entanglement("hooks", failure) for failure in fork_hooks.call(kind, app.kernel.interrupts)]
