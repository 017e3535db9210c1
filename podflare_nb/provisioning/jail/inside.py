"""Work inside of a jail's mount namespace, by a short-lived fork of the supervisor: what it tells comes as datagrams.

The fork joins the namespace by its pid 1, so that it sees the jail's root (``mounts``) and nothing of the host's tree.
It may be killed at any moment, dies with the supervisor, and holds no descriptor of it: a kernel's end must not go
unseen because somebody else holds its socket. All that it needs must be imported by now, for there no module is found.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from .. import datagrams
from . import syscalls as sc

Tell = Callable[[dict[str, Any], Sequence[int]], None]
Work = Callable[[Tell, int], None]
"""Called with ``Tell`` and a descriptor of the host's root directory, which is otherwise out of sight."""
NICENESS = 10


class Helper:
    """A fork at work. Read ``sock`` until it is closed; then, or when it has taken too long, ``close``."""

    def __init__(self, pid: int, sock: socket.socket) -> None:
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.sock = sock

    def __repr__(self) -> str:
        return f"<Helper {self.pid}>"

    def kill(self) -> None:
        """End it now, if it has not ended. It is still to be reaped."""
        self.sock.close()
        sc.pidfd_send_signal(self.pidfd, signal.SIGKILL)


def start(init_pidfd: int, work: Work, *, in_background: bool = False) -> Helper:
    """Fork, and do ``work`` in the jail of this pid 1. An OSError there is told as ``{"error", "errno"}``."""
    ours, theirs = datagrams.pair()
    supervisor = os.getpid()
    pid = os.fork()
    if pid == 0:
        _run(init_pidfd, work, theirs.fileno(), supervisor, NICENESS if in_background else 0)
    theirs.close()
    ours.settimeout(0)
    return Helper(pid, ours)


def _run(init_pidfd: int, work: Work, channel: int, supervisor: int, niceness: int) -> NoReturn:
    try:
        signal.set_wakeup_fd(-1)
        sc.set_parent_death_signal(signal.SIGKILL)
        if os.getppid() != supervisor:
            os._exit(1)
        jail, told = 3, 4
        _renumber(((init_pidfd, jail), (channel, told)))
        host = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        os.nice(niceness)
        sc.setns(jail, sc.CLONE_NEWNS)
        sock = socket.socket(fileno=told)

        def tell(body: dict[str, Any], fds: Sequence[int]) -> None:
            datagrams.send(sock, body, fds)

        try:
            work(tell, host)
        except BaseException as error:  # noqa: BLE001 - a fork has nobody above it: whatever it was is told, then it ends
            known = isinstance(error, OSError) and error.strerror
            tell({"error": known or f"{type(error).__name__}: {error}", "errno": getattr(error, "errno", None)}, ())
        tell({"done": True}, ())
    finally:
        os._exit(0)


def _renumber(moves: Sequence[tuple[int, int]]) -> None:
    """Give descriptors these numbers and close all others from 3 on."""
    first_free = max(target for _, target in moves) + 1
    copies = [(fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, first_free), target) for source, target in moves]
    for copy, target in copies:
        os.dup2(copy, target, inheritable=False)
    sc.close_range(first_free)
