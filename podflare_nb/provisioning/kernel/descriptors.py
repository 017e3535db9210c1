"""Says what the descriptors of this process are. Stands on /proc/self/fd; ``transport`` and ``inventory`` ask.

Other threads, libzmq's among them, open and close some meanwhile: what was listed may be gone, or something else.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

STANDARD = 3
"""So many numbers are the standard streams'."""
LISTING = "/proc/self/fd"
GONE = frozenset({errno.EBADF, errno.ENOENT})
"""What Linux says of a number that stands for nothing, and of its name in ``LISTING``."""
TERMINAL_MAJORS = frozenset({4, 5, *range(136, 144)})
"""Consoles, /dev/tty and /dev/ptmx, pseudo terminals (Linux' devices.txt)."""


class Descriptor(NamedTuple):
    """A number, and what it stands for: its file's mode, device, inode. A fork makes two hundred: hence a tuple."""

    fd: int
    mode: int
    device: int
    inode: int
    special: int

    @property
    def is_socket(self) -> bool:
        """A socket."""
        return stat.S_ISSOCK(self.mode)

    @property
    def is_pipe(self) -> bool:
        """An end of a pipe."""
        return stat.S_ISFIFO(self.mode)

    @property
    def reads(self) -> bool:
        """Whether it only reads, as one end of a pipe does. Raises OSError if it is gone."""
        return fcntl.fcntl(self.fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY

    @property
    def is_terminal(self) -> bool:
        """A terminal, or the other side of one."""
        return stat.S_ISCHR(self.mode) and os.major(self.special) in TERMINAL_MAJORS

    @property
    def link(self) -> str:
        """Its path, or what Linux calls it."""
        return os.readlink(f"{LISTING}/{self.fd}")  # noqa: PTH115  # a Path would cost more than the call

    @property
    def stands(self) -> bool:
        """Whether its number stands for it still."""
        return listed([self.fd]) == [self]

    @contextlib.contextmanager
    def unless_gone(self) -> Iterator[None]:
        """A look at it: one that fails because it is gone by now sees nothing, and is no error."""
        try:
            yield
        except OSError as error:
            if error.errno not in GONE and self.stands:  # it may be there again: the same file under the same number
                raise


def numbers(held: Held | None = None) -> list[int]:
    """All that are open; and the listing's own, which is not any more. ``held``: of who may have no path to it."""
    if held is None:
        return sorted(map(int, os.listdir(LISTING)))  # noqa: PTH208  # the same
    listing = os.open("self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=held.proc)
    try:
        return sorted(map(int, os.listdir(listing)))  # noqa: PTH208  # a Path is no descriptor
    finally:
        os.close(listing)


def listed(among: Iterable[int]) -> list[Descriptor]:
    """Those among these numbers that are open."""
    found = []
    for fd in among:
        try:
            status = os.fstat(fd)
        except OSError:
            continue  # the listing's own, or gone
        found.append(Descriptor(fd, status.st_mode, status.st_dev, status.st_ino, status.st_rdev))
    return found


@dataclass(frozen=True, slots=True)
class Held:
    """/dev/null and /proc, by descriptors: the root where they have paths may be gone when a sleeper needs them."""

    null: int
    proc: int

    @classmethod
    def open(cls) -> Held:
        """Open both. ``close`` is for whoever wakes or goes on."""
        fds = [os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)]
        try:
            fds.append(os.open("/proc", os.O_PATH | os.O_CLOEXEC))
        except OSError:
            os.close(fds[0])
            raise
        lift(fds)
        return cls(*fds)

    def close(self) -> None:
        """Close both."""
        os.close(self.null)
        os.close(self.proc)

    def opened_again(self, fd: int, flags: int) -> int:
        """Open what a descriptor of this process stands for anew, with an offset of its own."""
        return os.open(f"self/fd/{fd}", flags | os.O_CLOEXEC, dir_fd=self.proc)


def lift(fds: list[int]) -> None:
    """Give other numbers to those that got the standard streams', which the user had closed."""
    for index, fd in enumerate(fds):
        if fd < STANDARD:
            fds[index] = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, STANDARD)
            os.close(fd)


def local_address(fd: int) -> str | bytes | None:
    """The path of a unix socket; None of anything else."""
    try:
        copy = os.dup(fd)
    except OSError:
        return None
    try:
        probe = socket.socket(fileno=copy)
    except OSError:  # no socket, and so the copy is not the probe's to close
        os.close(copy)
        return None
    with probe:
        try:
            return probe.getsockname() or None if probe.family == socket.AF_UNIX else None
        except OSError:
            return None
