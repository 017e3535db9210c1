"""Builds a jail: the namespaces, the composed root, and a pid 1 that holds them. Run by the supervisor, as root.

The builder is a short-lived fork of the supervisor; pid 1 is another that ends in ``exec``, so that nothing of the
supervisor's memory stays inside. Pid 1 is cat(1), reading a pipe whose other end only the supervisor holds:

- it ends when the supervisor closes the pipe, or dies however; with it Linux kills every process of the pid namespace,
  and the mounts, the network and the ipc objects go with their namespaces. Nothing has to be cleaned up.
- it reaps: a process that ignores SIGCHLD has no zombies (wait(2)), and the disposition outlives exec.
- it is nobody: an id that is not mapped inside, no capability, the jail's own seccomp filter. The sandbox's root can
  neither trace nor signal it (pid 1 takes no signal from inside that it has no handler for, pid_namespaces(7)).
- it belongs to no branch: its root is a read-only one, its control group the supervisor's. So every branch can end,
  the first one too, and the family lives on.

The namespaces belong to the host's user namespace: a kernel is put into a user namespace of its own only when it
enters, so that its root has no power over mounts, routes, host name or pid 1, whatever becomes of seccomp.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
from contextlib import suppress
from typing import NoReturn

from . import capabilities, seccomp
from . import syscalls as sc
from .branch_roots import compose, make_layer
from .mounts import INIT_ROOT, compose_jail
from .plan import HOST, JailPlan, Stack

NAMESPACES = sc.CLONE_NEWNS | sc.CLONE_NEWPID | sc.CLONE_NEWIPC | sc.CLONE_NEWUTS | sc.CLONE_NEWNET
INIT = "/usr/bin/cat"
SIOCSIFFLAGS = 0x8914
IFF_UP = 1
LAST_GROUP = (1 << 31) - 1
"""Of all groups that sandboxes have on the host."""
FIRST = "0"
"""Name of a jail's first branch, and of the layer that it writes to."""
STATUS_BYTES = 2048
CATCHABLE = tuple(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
"""Asked for once: Python makes the set anew for each question, which took 4 ms of every jail."""


class JailError(Exception):
    """A jail could not be built; the sentence names the step and the system's reason."""


def start(plan: JailPlan, userns: int) -> Building:
    """Begin to build; returns at once. ``Building.advance`` whenever ``Building.status_fd`` is readable."""
    life_read, life_write = os.pipe2(os.O_CLOEXEC)
    status_read, status_write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(life_write)
        os.close(status_read)
        _build(plan, userns, life_read, status_write)
    os.close(life_read)
    os.close(status_write)
    return Building(pid, life_write, status_read)


class Building:
    """A jail on its way. ``lifeline``: the pipe that keeps it alive."""

    def __init__(self, builder_pid: int, lifeline: int, status_fd: int) -> None:
        self._builder_pid = builder_pid
        self._message = b""
        self.lifeline = lifeline
        self.status_fd = status_fd

    def advance(self) -> bool:
        """Read what is there; True at the end, which is init's exec or a failure: then call ``finish``."""
        part = os.read(self.status_fd, STATUS_BYTES)
        self._message += part
        return not part

    def finish(self) -> int:
        """The pid of the jail's init, as the host sees it. Raises JailError."""
        os.close(self.status_fd)
        os.waitpid(self._builder_pid, 0)
        message = self._message
        if message.startswith(b"init "):
            pid, _, failure = message.removeprefix(b"init ").partition(b"\n")
            if not failure:
                return int(pid)
            message = failure
            os.waitpid(int(pid), 0)  # a subreaper's orphan: ours to reap
        os.close(self.lifeline)
        raise JailError(message.decode(errors="replace") or "the builder ended without a word")


def _build(plan: JailPlan, userns: int, lifeline: int, status: int) -> NoReturn:
    """In the builder: make the namespaces and fork what becomes pid 1 in them; tell its host pid."""
    try:
        signal.set_wakeup_fd(-1)
        sc.unshare(NAMESPACES & ~_left_out(plan))
        pid = os.fork()
        if pid:
            os.write(status, b"init %d\n" % pid)
            os._exit(0)
        _become_init(plan, userns, lifeline)
    except BaseException as error:  # noqa: BLE001 - a fork has nobody above it: whatever it was is told, then it ends
        with suppress(OSError):  # the supervisor may be gone; this copy of it must not go on in its place
            os.write(status, f"{type(error).__name__}: {error}".encode()[:STATUS_BYTES])
    finally:
        os._exit(70)


def _become_init(plan: JailPlan, userns: int, lifeline: int) -> NoReturn:
    os.setsid()
    sc.sethostname(plan.hostname)
    if "net" not in plan.without:
        _prepare_network()
    compose_jail(plan, userns)
    keys = [tree.key for tree in plan.trees]
    make_layer(plan, FIRST, {}, frozenset(keys))
    os.close(compose(plan, FIRST, Stack(dict.fromkeys(keys, FIRST))))
    null = os.open(f"{HOST}/dev/null", os.O_RDWR)
    os.chroot(INIT_ROOT)
    os.chdir("/")
    os.dup2(lifeline, 0)
    os.dup2(null, 1)
    os.dup2(null, 2)
    for number in CATCHABLE:
        signal.signal(number, signal.SIG_IGN if number == signal.SIGCHLD else signal.SIG_DFL)
    capabilities.drop_bounding()
    os.setgroups([])
    os.setresgid(plan.init_owner, plan.init_owner, plan.init_owner)
    os.setresuid(plan.init_owner, plan.init_owner, plan.init_owner)
    capabilities.drop_all()
    sc.set_no_new_privs()
    seccomp.install(seccomp.program())
    # Everything else closes on exec, the status pipe too: its end tells the supervisor that this exec succeeded.
    sc.close_range(3, flags=sc.CLOSE_RANGE_CLOEXEC)
    os.execve(INIT, ["podflare-nb-init"], {})  # noqa: S606 - no shell, a fixed path in the composed root


def _left_out(plan: JailPlan) -> int:
    """Namespaces left out for a negative control."""
    flags = {"net": sc.CLONE_NEWNET, "ipc": sc.CLONE_NEWIPC, "uts": sc.CLONE_NEWUTS}
    return sum(flag for name, flag in flags.items() if name in plan.without)


def _prepare_network() -> None:
    """127.0.0.1 works inside (netdevice(7)); there is no other interface, hence no route."""
    _write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")  # port 80 is as good as 8080 where nobody else listens
    _write("/proc/sys/net/ipv4/ping_group_range", f"0 {LAST_GROUP}")  # ping's sockets: an echo is all they can send
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
