"""Makes a forked process a kernel: environment, randomness, an event loop, the transport; then serves until the end.

A process may live more than once: as a kernel, then, when that is forked, as a sleeping child in the copy, then as
a kernel again. Each life begins and ends here, at the bottom of the stack, so that the hundredth generation has as
much of it as the first. Everything that it needs is imported by now, because the jail may show other files. Below:
``ipykernel_seam``, ``live_fork``, ``sleeping``; above: ``template``.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

from .. import datagrams
from ..library_caches import move_jedi
from . import fork_hooks, genuine, inspection, unfinished_imports
from .disown import forget_processes
from .entanglements import Entanglement
from .ipykernel_seam import TemplateApp
from .late_answers import sealed
from .live_fork import LiveFork
from .orders import Orders
from .reseed import reseed, reseed_users
from .sleeping import FAILED, Sleeper, join, sleep
from .transport import CHANNELS, Transport

_exit = os._exit  # the user may put something else in its place


@dataclass(frozen=True, slots=True)
class Handover:
    """What a process is given to become a kernel.

    ``listeners``: a listening unix socket's descriptor for each of ``transport.CHANNELS``; ``ctl``: the supervisor's
    channel to this kernel; ``env``: the whole environment.
    """

    listeners: dict[str, int]
    ctl: socket.socket
    key: bytes
    env: Mapping[str, str]
    cwd: str


def serve(app: TemplateApp, handover: Handover) -> NoReturn:
    """Become the kernel and serve until shutdown. Raises only before "up" is sent."""
    _apply_environment(handover)
    told = _warnings("random", reseed(()))
    loop = _fresh_loop()
    # The first that the loop does: what else it begins with can be done while the supervisor hears of it.
    loop.call_soon(datagrams.send, handover.ctl, {"event": "up", "pid": os.getpid(), "warnings": told})
    life = Life(app, handover.ctl, app.connect(handover.listeners, handover.key))
    while True:
        sleeper, users_library = life.run()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a parent left open is not this process's to close
            del life, loop
        with users_library:
            life = _sleep(app, sleeper)
        loop = life.transport.loop


class Life:
    """A kernel from "up" to its end."""

    def __init__(self, app: TemplateApp, ctl: socket.socket, transport: Transport) -> None:
        self.app = app
        self.transport = transport
        self.orders = Orders(ctl, transport, app.session.rekey)
        transport.service.io_loop.add_callback(self.orders.watch)
        transport.start()

    def run(self) -> tuple[Sleeper, contextlib.ExitStack]:
        """Serve until the process ends. Returns in a child that was forked here, which has the standard library as it
        was, and what puts the user's back: to look at all of it again would write to pages that the two share."""
        while True:
            _run(self.transport.loop)
            claim = self.orders.claims.taken
            if claim is None:
                _end(self.transport)
            try:
                if claim.order.body["op"] == "settle":
                    self.orders.settled(claim.order)
                    continue
                if claim.order.body["op"] == "retire":
                    self._retire(claim.order)
                if claim.order.body["op"] == "fork":
                    with contextlib.ExitStack() as users_library:
                        users_library.enter_context(genuine.standard_library())
                        sleeper = LiveFork(self.app, self.transport, self.orders, claim.order).run()
                        if sleeper is not None:
                            return sleeper, users_library.pop_all()
                else:
                    inspection.answer(self.app, self.orders, claim.order)
            except datagrams.PeerClosedError:
                _exit(0)
            self.orders.claims.done()

    def _retire(self, order: datagrams.Datagram) -> NoReturn:
        """Another kernel has this one's place: what has come before the clients have gone is answered, by that one if
        there is no other way."""
        self.app.kernel.refuse_code()
        left = self.transport.leave()
        fds = [sealed(left.late_answers)] if left.late_answers else []
        told = {"event": "retired", "id": order.body.get("id"), "subscribers": left.subscribers}
        datagrams.send(self.orders.ctl, told, fds)
        while True:  # its end is the supervisor's to choose
            datagrams.receive(self.orders.ctl).close_fds()


@dataclass(frozen=True, slots=True)
class Risen:
    """A sleeper that has a connection, and nothing yet to serve from. ``repeating``: what ``reseed`` says."""

    sleeper: Sleeper
    transport: Transport
    repeating: list[str]


def _sleep(app: TemplateApp, sleeper: Sleeper) -> Life:
    """Sleep until told to serve; then be a kernel again."""

    def rise(sleeper: Sleeper, order: datagrams.Datagram) -> Risen:
        with _telling(sleeper.ctl, "rise"):
            return _rise(app, sleeper, order)

    risen, order = sleep(sleeper, rise)
    with _telling(risen.sleeper.ctl, "wake"):
        return _wake(app, risen, order)


@contextlib.contextmanager
def _telling(ctl: socket.socket, where: str) -> Iterator[None]:
    """Tell the supervisor of a failure; then this process must end, whatever it was."""
    try:
        yield
    except datagrams.PeerClosedError:
        _exit(0)
    except BaseException as error:  # noqa: BLE001  # told
        with contextlib.suppress(BaseException):
            report = {"event": "failed", "error": f"{type(error).__name__}: {error}", "where": where}
            datagrams.send(ctl, report)
        _exit(FAILED)


def _rise(app: TemplateApp, sleeper: Sleeper, order: datagrams.Datagram) -> Risen:
    """Join its control groups, draw other random numbers, connect. Where its root is, or was, may be nothing."""
    listeners = {channel: order.fds.pop(0) for channel in CHANNELS}
    join(order.fds)
    repeating = reseed_users(app.kernel.shell)
    _fresh_loop()
    transport = app.connect(listeners, order.body["key"].encode(), sleeper.inventory.held)
    datagrams.send(sleeper.ctl, {"event": "risen"})
    return Risen(sleeper, transport, repeating)


def _wake(app: TemplateApp, risen: Risen, order: datagrams.Datagram) -> Life:
    sleeper = risen.sleeper
    troubles = sleeper.inventory.enter(order.fds.pop() if order.fds else None)
    sleeper.inventory.held.close()
    unfinished_imports.forget()
    remembered = forget_processes(sleeper.inventory.return_codes)
    life = Life(app, sleeper.ctl, risen.transport)
    sleeper.was.resume()
    told = [each.as_json() for each in troubles]
    told += _warnings("processes", remembered) + _warnings("random", risen.repeating)
    told += _warnings("hooks", fork_hooks.call("after_in_child", app.kernel.interrupts, users_only=True))
    datagrams.send(sleeper.ctl, {"event": "up", "pid": os.getpid(), "warnings": told})
    return life


def _warnings(kind: str, sentences: Iterable[str]) -> list[dict[str, str]]:
    return [Entanglement(kind, each).as_json() for each in sentences]


def _apply_environment(handover: Handover) -> None:
    os.environ.clear()
    os.environ.update(handover.env)
    time.tzset()
    os.chdir(handover.cwd)
    temporary = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108  # what tempfile would find, without trying by a file
    tempfile.tempdir = temporary if os.access(temporary, os.W_OK | os.X_OK) else None
    if (platform := sys.modules.get("platform")) is not None:
        platform._uname_cache = None  # type: ignore[attr-defined]  # noqa: SLF001  # the host's name, asked for in the template
    # Pickles are loaded from there: not from where the template's home was, a name that others could take by now.
    move_jedi(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))  # noqa: PTH111  # Path's can raise
    if "" not in sys.path:
        sys.path.insert(_first_site_directory(), "")


def _first_site_directory() -> int:
    """Where IPython puts the working directory: after the standard library."""
    for index, path in enumerate(sys.path):
        if os.path.basename(path) in {"site-packages", "dist-packages"}:  # noqa: PTH119  # entries need not be paths
            return index
    return 0


def _fresh_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.SelectorEventLoop()  # whatever policy the user has set
    asyncio.set_event_loop(loop)
    return loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until it is stopped; nothing that the user's tasks and signal handlers raise in it ends it."""
    while True:
        try:
            loop.run_forever()
        except (KeyboardInterrupt, SystemExit):
            continue  # asyncio lets these two of a task through; the task keeps them, too
        except BaseException:  # noqa: BLE001  # an alarm that went off between two cells: shown, as it has no cell
            traceback.print_exc()
            continue
        return


def _end(transport: Transport) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(BaseException):  # the user's exit functions: their failure is nobody's news any more
        atexit._run_exitfuncs()  # noqa: SLF001  # what the interpreter's own end would call
    transport.close()
    _exit(0)
