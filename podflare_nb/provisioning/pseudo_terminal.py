"""A pseudo terminal of a jail's own instance (devpts), opened from outside.

The host opens both ends by the branch's root, in which nobody inside can put anything else at that place, and keeps the
master: no process of the jail ever holds it, so none can change how it is read, read what was typed, or keep it open.
The slave's name is the jail's (``/dev/pts/0``), its owner the jail's root.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import termios

from .jail import syscalls as sc

TIOCGPTPEER = 0x5441
TIOCSPTLCK = 0x40045431
"""ioctl_tty(2): open the other end without a path; unlock it."""
IUTF8 = 0o40000
PTMX = (5, 2)
TTY_GROUP = 5
MODE = 0o620
_FLAGS = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
_BENEATH = sc.RESOLVE_BENEATH | sc.RESOLVE_NO_SYMLINKS | sc.RESOLVE_NO_MAGICLINKS


def open_pair(root: int | None, owner: int, size: tuple[int, int]) -> tuple[int, int]:
    """Open master (non-blocking) and slave. ``root``: the branch's; None for the host's own instance. ``owner``: the
    host id that is root inside; ``size``: columns and rows. Raises OSError.
    """
    master = _open_master(root)
    try:
        fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
        slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except BaseException:
        os.close(master)
        raise
    try:
        if root is not None:
            os.fchown(slave, owner, owner + TTY_GROUP)
            os.fchmod(slave, MODE)
        resize(master, *size)
        _expect_utf8(slave)
    except BaseException:
        os.close(slave)
        os.close(master)
        raise
    return master, slave


def _open_master(root: int | None) -> int:
    if root is None:
        return os.open("/dev/ptmx", _FLAGS)
    master = sc.openat2("dev/pts/ptmx", _FLAGS, resolve=_BENEATH, dir_fd=root)
    status = os.fstat(master)
    if stat.S_ISCHR(status.st_mode) and (os.major(status.st_rdev), os.minor(status.st_rdev)) == PTMX:
        return master
    os.close(master)
    raise OSError(errno.ENODEV, "there is no pseudo terminal device in the sandbox")


def resize(master: int, columns: int, rows: int) -> None:
    """Set its size; its foreground programs get SIGWINCH if that is another one."""
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))


def _expect_utf8(slave: int) -> None:
    """So that the line editor of Linux erases whole characters."""
    attributes = termios.tcgetattr(slave)
    attributes[0] |= IUTF8
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
