"""One layer of an overlay, read from outside as overlayfs stores it (kernel: Documentation/filesystems/overlayfs.rst).

A deleted file is a character device 0/0, or an empty file with an attribute in a directory marked for that; a
directory that hides those below it is marked opaque. It merges nothing: ``overlay_changes`` above does. What a hostile
tenant wrote is resolved beneath the layer only, without links, and never waited for.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from . import syscalls

OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_OPEN_DIRECTORY = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY
_BENEATH = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_XDEV
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.EXDEV, errno.EAGAIN, errno.EACCES,
         errno.ENXIO, errno.ENAMETOOLONG}  # fmt: skip
"""It was there a moment ago, and has been renamed, deleted or replaced by something that is not opened."""
_OPAQUE, _REDIRECT, _METACOPY, _WHITEOUT = (
    f"trusted.overlay.{name}" for name in ("opaque", "redirect", "metacopy", "whiteout")
)


def is_whiteout(status: os.stat_result) -> bool:
    """It hides what layers below have under its name."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


class Layer:
    """A directory that overlayfs takes as a layer. Its path must be the host's own choice; raises OSError."""

    def __init__(self, path: str) -> None:
        self._root = os.open(path, _OPEN_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._root)

    def open(self, below: str, flags: int) -> int | None:
        """Open what is there now; None if nothing of that kind is."""
        try:
            return syscalls.openat2(below, flags, resolve=_BENEATH, dir_fd=self._root)
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise

    def directory(self, below: str) -> Directory | None:
        """Open a directory; ``"."`` is the layer itself."""
        descriptor = self.open(below, _OPEN_DIRECTORY)
        return None if descriptor is None else Directory(descriptor)

    @staticmethod
    def holds_data(descriptor: int) -> bool:
        """Whether it is a regular file with its content in this very layer."""
        return stat.S_ISREG(os.fstat(descriptor).st_mode) and _attribute(descriptor, _METACOPY) is None


class Directory:
    """A directory of one layer, open."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        opaque = _attribute(descriptor, _OPAQUE)
        self.is_opaque = opaque == b"y"
        redirect = _attribute(descriptor, _REDIRECT)
        self.redirect = None if redirect is None else os.fsdecode(redirect)
        """Where the layers below have this directory: under another name beside it, or ``/path`` from their roots."""
        self._has_marked_whiteouts = opaque == b"x"

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)

    def names(self) -> Iterator[str]:
        """Of everything in it, whiteouts too; bytes that are no UTF-8 are surrogates."""
        with os.scandir(self._descriptor) as listing:
            for entry in listing:
                yield entry.name

    def status(self, name: str) -> os.stat_result | None:
        """As lstat(2); None if it is not there."""
        try:
            return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise

    def target(self, name: str) -> str | None:
        """Where a link points; None if there is no link now."""
        try:
            return os.readlink(name, dir_fd=self._descriptor)
        except OSError as error:
            if error.errno in _GONE or error.errno == errno.EINVAL:
                return None
            raise

    def is_whiteout_by_mark(self, name: str, status: os.stat_result) -> bool:
        """Whether it is the other kind of whiteout, which layers made by tools have (overlayfs since Linux 6.7)."""
        if not self._has_marked_whiteouts or not stat.S_ISREG(status.st_mode) or status.st_size:
            return False
        try:
            descriptor = os.open(name, OPEN_FILE | os.O_CLOEXEC, dir_fd=self._descriptor)
        except OSError as error:
            if error.errno in _GONE:
                return False
            raise
        try:
            return _attribute(descriptor, _WHITEOUT) is not None
        finally:
            os.close(descriptor)


def _attribute(descriptor: int, name: str) -> bytes | None:
    """An extended attribute of overlayfs, which only shows to the host's root; None without it."""
    try:
        return os.getxattr(descriptor, name)
    except OSError as error:
        if error.errno in {errno.ENODATA, errno.EOPNOTSUPP}:
            return None
        raise
