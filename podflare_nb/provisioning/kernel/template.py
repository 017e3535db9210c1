"""A template: a process that has built a kernel but for its connection, and forks one for each order.

Started by ``loader.command``; obeys the supervisor at the other end of a SOCK_SEQPACKET socket, one datagram at a
time (``main`` documents them). It has one thread, no other socket and no secret: not the server's environment, and a
kernel's key and environment reach only the child, on that child's own channel.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any, NoReturn

from .. import datagrams, pages
from ..jail import seccomp, syscalls
from ..jail.enter import enter
from ..library_caches import LibraryCache
from . import fork_hooks, orphan_fork, shared_mappings, terminal
from .attach import Handover, serve
from .ipykernel_seam import TemplateApp
from .preload import PreloadError, build
from .sleeping import FAILED
from .transport import CHANNELS


def main(fd: int, gathered: pages.Gathered) -> NoReturn:
    """Be a template. ``gathered``: where memory is taken, up to now and until all is loaded.

    The first datagram is ``{"op": "configure", "preload": [module], "env": {}}`` with the descriptor of the directory
    of libraries' caches, or none, answered by ``{"event": "ready", "pid", "modules", "threads", "seconds", "python",
    "language_info", "cache_trouble"}`` or ``{"event": "failed", "error"}``.

    Then any number of ``{"op": "spawn", "kernel_id", "jail"}`` with the descriptors ``[*CHANNELS, ctl, *rest]``, each
    answered by ``{"event": "spawned", "kernel_id", "pid"}``, and at the kernel's end by ``{"event": "ended",
    "kernel_id", "status"}`` (as wait(2) gives it). The kernel waits on its ctl for ``{"op": "serve", "key", "env",
    "cwd"}`` and answers ``{"event": "up", "pid"}`` or ``{"event": "failed", "error", "where"}``. Ends when the socket
    is closed; kernels live on, and are the supervisor's children then.

    ``{"op": "terminal", "kernel_id", "jail"}`` with ``[slave, ctl, *rest]`` forks a terminal's command, told of in the
    same way, which says ``{"event": "forked"}`` before it enters the jail (``terminal``), and then nothing, or
    ``{"event": "failed", "error", "exit_code"}``.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the supervisor's to handle
    sys.argv = [""]
    control = socket.socket(fileno=fd)
    os.set_inheritable(fd, False)  # noqa: FBT003
    with contextlib.suppress(datagrams.PeerClosedError):
        children = Children(control)
        app = _configure(control, gathered, datagrams.receive(control))
        signal.signal(signal.SIGCHLD, children.reap)
        while True:
            order = datagrams.receive(control)
            if order.body["op"] == "terminal":
                _spawn_terminal(control, order, children)
            else:
                _spawn(control, app, order, children)
    os._exit(0)


def _configure(control: socket.socket, gathered: pages.Gathered, order: datagrams.Datagram) -> TemplateApp:
    started = time.monotonic()
    cache = LibraryCache(order.fds.pop() if order.fds else None)
    try:
        app = build(order.body["preload"], order.body["env"], cache)
        gathered.end_here()
        cache.close()  # no child has it
        _check_quiescent(control.fileno())
    except BaseException as error:  # noqa: BLE001  # told to the supervisor, whatever it was
        cause = str(error) if isinstance(error, PreloadError) else f"{type(error).__name__}: {error}"
        datagrams.send(control, {"event": "failed", "error": cause})
        os._exit(1)
    fork_hooks.find()
    fork_hooks.rehearse()
    orphan_fork.prepare()
    shared_mappings.find()
    seccomp.program()  # once, for every kernel that is forked from here
    pages.lay_out(gathered)
    ready = {
        "event": "ready",
        "pid": os.getpid(),
        "modules": len(sys.modules),
        "threads": sum(1 for _ in Path("/proc/self/task").iterdir()),
        "seconds": round(time.monotonic() - started, 3),
        "python": sys.version.split()[0],
        "language_info": app.kernel.language_info,
        "cache_trouble": cache.trouble,
    }
    datagrams.send(control, ready)
    return app


def _check_quiescent(control: int) -> None:
    """A fork copies memory, not threads and not what the other end of a socket thinks."""
    if threading.active_count() != 1:
        names = ", ".join(thread.name for thread in threading.enumerate())
        raise PreloadError(f"The template cannot be forked: its libraries started threads ({names}).")
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:
            continue  # the listing's own
        if int(link.name) > 2 and int(link.name) != control and target.startswith(("socket:", "anon_inode:[event")):
            raise PreloadError(f"The template cannot be forked: its libraries left {target} open ({link.name}).")


class Children:
    """The kernels that were forked here and have not ended: reaps them, and tells the supervisor how they ended."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._kernel_ids: dict[int, str] = {}
        self._early: dict[int, int] = {}
        self._own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)

    def fork(self, kernel_id: str, init: int | None) -> int:
        """Fork; in the jail of ``init`` (a pidfd of its pid 1), if there is one: 0 in the child, as os.fork.

        Which pid namespace the next child is born into is the parent's to choose (setns(2)); so one fork of this large
        process does, where joining it in the child would take another.
        """
        pid = -1
        try:
            if init is not None:
                syscalls.setns(init, syscalls.CLONE_NEWPID)
            with warnings.catch_warnings():
                # Since 3.12 Python warns of threads of C libraries (OpenBLAS), which handle the fork themselves.
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
        finally:
            if init is not None and pid:  # not in the child, which could not and should not
                syscalls.setns(self._own_pids, syscalls.CLONE_NEWPID)
        if pid:
            self._kernel_ids[pid] = kernel_id
            datagrams.send(self._control, {"event": "spawned", "kernel_id": kernel_id, "pid": pid})
            if pid in self._early:
                self._tell(pid, self._early.pop(pid))
        return pid

    def forget(self) -> None:
        """In a child: they are its siblings, and the host's pid namespace is none of its business."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self._own_pids)

    def reap(self, *_: object) -> None:
        """Collect all that have ended; a signal handler."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid in self._kernel_ids:
                    self._tell(pid, status)
                else:
                    self._early[pid] = status  # it ended before fork() could write it down

    def _tell(self, pid: int, status: int) -> None:
        datagrams.send(self._control, {"event": "ended", "kernel_id": self._kernel_ids.pop(pid), "status": status})


def _spawn(control: socket.socket, app: TemplateApp, order: datagrams.Datagram, children: Children) -> None:
    rest = order.fds[len(CHANNELS) + 1 :]
    try:
        pid = children.fork(order.body["kernel_id"], rest[0] if rest else None)
    except OSError as error:  # the jail has ended, or there is no memory: this kernel's trouble, not the template's
        datagrams.send(control, {"event": "ended", "kernel_id": order.body["kernel_id"], "status": FAILED << 8})
        with socket.socket(fileno=order.fds.pop(len(CHANNELS))) as ctl, contextlib.suppress(datagrams.PeerClosedError):
            datagrams.send(ctl, {"event": "failed", "error": f"it could not be forked: {error}", "where": "fork"})
    else:
        if pid == 0:
            children.forget()
            _become_kernel(control, app, order.body, order.fds)
    order.close_fds()


def _become_kernel(control: socket.socket, app: TemplateApp, message: dict[str, Any], fds: list[int]) -> NoReturn:
    where = "handover"
    try:
        ctl = socket.socket(fileno=fds[len(CHANNELS)])
        control.close()
        where = "jail"
        _enter_jail(message["jail"], fds[len(CHANNELS) + 1 :])
        where = "order"
        order = datagrams.receive(ctl).body
        where = "attach"
        listeners = dict(zip(CHANNELS, fds, strict=False))
        env = {**os.environ, **order["env"]}
        serve(app, Handover(listeners, ctl, order["key"].encode(), env, order["cwd"]))
    except datagrams.PeerClosedError:
        os._exit(0)  # nobody wants the kernel any more
    except BaseException as error:  # noqa: BLE001  # told to the supervisor; then this process must end, whatever it was
        report = {"event": "failed", "error": f"{type(error).__name__}: {error}", "where": where}
        datagrams.send(ctl, report)
    os._exit(FAILED)


def _enter_jail(plan: dict[str, Any] | None, rest: list[int]) -> None:
    if plan is None:
        os.setsid()
        for fd in rest:
            os.close(fd)
        return
    enter(plan, rest)


def _spawn_terminal(control: socket.socket, order: datagrams.Datagram, children: Children) -> None:
    slave, ctl, *rest = order.fds
    try:
        pid = children.fork(order.body["kernel_id"], rest[0] if rest else None)
    except OSError:  # as for a kernel; that its control socket closes tells its supervisor
        datagrams.send(control, {"event": "ended", "kernel_id": order.body["kernel_id"], "status": FAILED << 8})
    else:
        if pid == 0:
            children.forget()
            control.close()
            _become_terminal(order.body["jail"], slave, socket.socket(fileno=ctl), rest)
    order.close_fds()


def _become_terminal(plan: dict[str, Any] | None, slave: int, told: socket.socket, rest: list[int]) -> NoReturn:
    try:
        command = terminal.take_order(told)
        _enter_jail(plan, rest)
        terminal.run(command, slave)
    except BaseException as error:  # noqa: BLE001  # told to the supervisor; then this process must end, whatever it was
        failure = {"error": str(error), "exit_code": getattr(error, "exit_code", None)}
        with contextlib.suppress(datagrams.PeerClosedError):
            datagrams.send(told, {"event": "failed", **failure})
    os._exit(FAILED)
