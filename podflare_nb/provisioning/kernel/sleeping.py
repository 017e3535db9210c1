"""A sleeping child of a live kernel: a process that holds a state and does nothing, until it is told to serve.

It has one thread and no connection but its ctl, blocks every signal, collects no garbage, and so writes to hardly any
of the memory that it shares with its parent. It opens nothing by path: the mounts of its root may be gone. Each order
to fork makes more of it, from the same state; that is what makes it a checkpoint. ``live_fork`` makes the first of
them; ``attach`` makes one a kernel again, when ``sleep`` returns the order to serve.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from .. import datagrams
from . import child_signal, fork_hooks, signal_mask
from .descriptors import STANDARD, lift
from .inventory import Inventory

FAILED = 70
"""Exit status of a child that could not be born (EX_SOFTWARE)."""
BIRTH_SECONDS = 20.0
Risen = TypeVar("Risen")
# The user may put something else in their places.
_exit, _close, _write = os._exit, os.close, os.write
_collects, _collect, _collect_not = gc.isenabled, gc.enable, gc.disable


@dataclass
class Sleeper:
    """``was``: what its parent's signals and garbage collection were like, to be so again when it wakes."""

    ctl: socket.socket
    inventory: Inventory
    was: Habits


@dataclass(frozen=True, slots=True)
class Habits:
    """How a process treats SIGCHLD (``child_signal``), which signals it blocks, whether it collects garbage."""

    child_signal: bytes
    blocked: frozenset[int]
    collects: bool

    def resume(self) -> None:
        """Be so again."""
        if self.collects:
            _collect()
        child_signal.restore(self.child_signal)
        set_blocked(self.blocked)


def set_blocked(signals: Iterable[int]) -> None:
    """Block exactly these. What a handler of the user's raises, of a signal that has waited, is shown and no more."""
    try:
        signal_mask.block(signals)
    except BaseException:  # noqa: BLE001  # the mask stands; this came afterwards
        with contextlib.suppress(BaseException):  # there may be no stderr
            traceback.print_exc()


def calm_down() -> Habits:
    """Block every signal, make ended children nobody's news, collect no garbage."""
    blocked = signal_mask.blocked()
    set_blocked(signal_mask.ALL)
    collects = _collects()
    _collect_not()
    return Habits(child_signal.silence(), blocked, collects)


def be_born(child: Sleeper, foreign: Sequence[int], birth: Birth, let_go: Callable[[], None]) -> None:
    """In a new child: become a sleeper. ``foreign``: descriptors to close; ``let_go``: of what the parent was."""
    try:
        if not child.inventory.has_unnamed:
            birth.told()
        os.setsid()  # an interrupt of the parent's group is not for it
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is let go of was not closed, for good reasons
            let_go()
        signal.set_wakeup_fd(-1)
        for fd in foreign:
            _close(fd)
        child.inventory.part(birth.fds)
        for fd in range(STANDARD):  # the parent's pipes, or whatever the user made of them
            os.dup2(child.inventory.held.null, fd)
        fork_hooks.call_libraries_in_child()
        child_signal.reap_by_itself()
        birth.told()
        datagrams.send(child.ctl, {"event": "asleep"})
    except datagrams.PeerClosedError:
        _exit(0)
    except BaseException as error:  # noqa: BLE001  # told to the supervisor; then this process must end, whatever it was
        with contextlib.suppress(BaseException):
            report = {"event": "failed", "error": f"{type(error).__name__}: {error}", "where": "birth"}
            datagrams.send(child.ctl, report)
        _exit(FAILED)


class Birth:
    """A pipe that tells when all children have what they need of their parent."""

    def __init__(self) -> None:
        ends = [*os.pipe2(os.O_CLOEXEC)]
        lift(ends)
        self._reading, self._writing = ends

    @property
    def fds(self) -> tuple[int, int]:
        """Its ends; -1 of one that is closed."""
        return self._reading, self._writing

    def told(self) -> None:
        """In a child: the parent need not wait for it any more."""
        for end in ("_reading", "_writing"):
            if (fd := getattr(self, end)) >= 0:
                _close(fd)
                setattr(self, end, -1)

    def wait(self) -> bool:
        """In the parent: wait for all; False: not all were heard of in time."""
        _close(self._writing)
        self._writing = -1
        until = time.monotonic() + BIRTH_SECONDS
        poll = select.poll()
        poll.register(self._reading, select.POLLIN)
        complete = bool(poll.poll(max(until - time.monotonic(), 0) * 1000))
        self.told()
        return complete


@dataclass(slots=True)
class Children:
    """What became of the children of one fork. ``own``: in a child itself, what it is; ``refusal``: why some failed."""

    own: Sleeper | None = None
    failed: list[int] = field(default_factory=list)
    refusal: str = ""


def bear(ctls: Sequence[int], become: Callable[[int, Birth], Sleeper], meanwhile: Callable[[], None]) -> Children:
    """Fork a child for each ctl, which is then what ``become`` makes of it. Returns in each of them, and in the parent
    when all have what they need of it; that does ``meanwhile`` while they take it."""
    birth, children = Birth(), Children()
    made = {}
    for index, ctl in enumerate(ctls):
        try:
            pid = fork_hooks.fork()
        except BaseException as error:  # noqa: BLE001  # an audit hook of the user's, at worst; told to the supervisor
            children.failed.append(index)
            children.refusal = f"{type(error).__name__}: {error}"[:500]
            continue
        if pid == 0:
            return Children(own=become(ctl, birth))
        made[index] = pid
    meanwhile()
    if not birth.wait():
        children.failed += [index for index, pid in made.items() if _end_unborn(pid)]
    return children


def sleep(sleeper: Sleeper, rise: Callable[[Sleeper, datagrams.Datagram], Risen]) -> tuple[Risen, datagrams.Datagram]:
    """Obey until somebody says "serve": what has risen here (a child comes out of here, too), and the order.

    ``rise``: obeys "rise": what can be done before it has files of its own, which are made meanwhile.
    """
    risen = None
    while True:
        try:
            order = datagrams.receive(sleeper.ctl)
            operation = order.body.get("op")
            if operation == "serve" and risen is not None:
                return risen, order
            if operation == "fork" and order.fds:
                sleeper = _fork(sleeper, order)
            elif operation == "rise":
                risen = rise(sleeper, order)
            else:
                refusal = f"a sleeping kernel does not know the order {operation!r}"
                answer = {"event": "refused", "id": order.body.get("id"), "code": "unknown", "error": refusal}
                datagrams.send(sleeper.ctl, answer)
            order.close_fds()
        except (datagrams.PeerClosedError, OSError):
            _exit(0)
        except ValueError:
            continue  # not a message: refused where it was read


def join(groups: Sequence[int]) -> None:
    """Move into the control groups that these files are of. That of one that could not be is seen by the supervisor."""
    for fd in groups:
        with contextlib.suppress(OSError):
            _write(fd, b"0")


def _fork(sleeper: Sleeper, order: datagrams.Datagram) -> Sleeper:
    """Make a child for each descriptor: the sleeper itself, in the parent; the child's own, in a child."""

    def become(ctl: int, birth: Birth) -> Sleeper:
        foreign = [fd for fd in order.fds if fd != ctl]
        order.fds.clear()
        foreign.append(sleeper.ctl.detach())
        child = Sleeper(socket.socket(fileno=ctl), sleeper.inventory, sleeper.was)
        be_born(child, foreign, birth, _nothing)
        return child

    children = bear(order.fds, become, _nothing)
    if children.own is not None:
        return children.own
    datagrams.send(sleeper.ctl, {"event": "forked", "id": order.body.get("id"), "failed": children.failed})
    return sleeper


def _nothing() -> None:
    pass


def _end_unborn(pid: int) -> bool:
    """End a child that hangs within its fork, in some C library, before it could leave this process's group."""
    with contextlib.suppress(ProcessLookupError):
        if os.getpgid(pid) == os.getpgrp():
            os.kill(pid, signal.SIGKILL)
            return True
    return False
