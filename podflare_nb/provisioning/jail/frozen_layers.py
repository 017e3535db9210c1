"""Keeps frozen layers few: merges them, copies one that is still written to, and removes those that nobody needs.

Merging makes a new layer that shows through an overlay what a run of layers showed: directories are made anew, files
are hard links of those in the run, so that it costs no space but for directories, and the run stays as it is for
whoever still has it mounted. What overlayfs means is kept: whiteouts, opaque directories, the newest of two files.

Runs as the host's root inside a jail's mount namespace, on what a hostile tenant wrote, and, for a copy, writes to at
the same time: every name is taken relative to an open directory, no link is followed, nothing but a regular file is
opened. Does not follow renamed directories (overlayfs's redirects) through a run: such a run is refused.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto

from .plan import LAYERS

MAX_DEPTH = 100
"""Of directories in directories: one descriptor of each layer is open for each."""
_OVERLAY = "trusted.overlay."
_OPAQUE, _REDIRECT = f"{_OVERLAY}opaque", f"{_OVERLAY}redirect"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO}
"""It was there a moment ago, and has been deleted or replaced since."""

PlaceFile = Callable[[int, str, int], None]
"""Make in one directory (the last) what another one (the first) has under a name."""


class NotMergeableError(OSError):
    """These layers stay as they are; the sentence says why. ``age``: of the one that cannot be merged with anything
    older, if it is one."""

    def __init__(self, reason: str, age: int | None = None) -> None:
        super().__init__(errno.EOPNOTSUPP, reason)
        self.age = age


@dataclass(frozen=True, slots=True)
class _Part:
    """A directory as one layer of the run has it, open; ``age``: that layer's place in the run, 0 for the newest."""

    age: int
    fd: int


def merge(run: Sequence[str], target: str, key: str) -> None:
    """Make the layer ``target`` of one tree from a run of layers, the newest first.

    Raises NotMergeableError, OSError.
    """
    _make(run, target, key, _link)


def copy(layer: str, target: str, key: str) -> None:
    """Make the layer ``target`` of one tree a copy of one that may be written to meanwhile. Raises as ``merge``."""
    _make([layer], target, key, _copy)


def _make(run: Sequence[str], target: str, key: str, place_file: PlaceFile) -> None:
    with suppress(FileExistsError):
        os.mkdir(f"{LAYERS}/{target}")  # noqa: PTH102 - strings, as everywhere under ``jail``
    parts = [_Part(age, os.open(f"{LAYERS}/{layer}/{key}", _DIRECTORY)) for age, layer in enumerate(run)]
    place = os.open(f"{LAYERS}/{target}", _DIRECTORY)
    try:
        _Merge(len(run) - 1, place_file).directory(parts, place, key, MAX_DEPTH, hides=False)
    finally:
        os.close(place)
        for part in parts:
            os.close(part.fd)


class _Merge:
    """``oldest``: the age of the last layer, below which nothing is merged."""

    def __init__(self, oldest: int, place_file: PlaceFile) -> None:
        self._oldest = oldest
        self._place_file = place_file

    def directory(self, parts: list[_Part], place: int, name: str, depth: int, *, hides: bool) -> None:
        """Make ``name`` in ``place`` from its parts; ``hides``: something in the run hides all that is older.

        Where all that is older is hidden there are no whiteouts: overlayfs does not look for them in a directory that
        it has in one layer only, and would show them.
        """
        if depth == 0:
            raise NotMergeableError("directories are nested too deep")
        parts, redirect, hides = self._visible(parts, hides)
        os.mkdir(name, 0o700, dir_fd=place)
        made = os.open(name, _DIRECTORY, dir_fd=place)
        try:
            found: dict[str, tuple[int, _Kind]] = {}
            for number, part in enumerate(parts):
                for entry, kind in _entries(part.fd):
                    found.setdefault(entry, (number, kind))
            for entry, (number, kind) in found.items():
                source = parts[number].fd
                if kind is _Kind.DIRECTORY:
                    self._subdirectory(parts[number:], made, entry, depth, hides=hides)
                elif not (hides and kind is _Kind.SPECIAL and _is_whiteout(source, entry)):
                    self._place_file(source, entry, made)
            if hides:
                os.setxattr(made, _OPAQUE, b"y")
            if redirect is not None:
                os.setxattr(made, _REDIRECT, redirect)
            _copy_attributes(parts[0].fd, made)
        finally:
            os.close(made)

    def _visible(self, parts: list[_Part], hides: bool) -> tuple[list[_Part], bytes | None, bool]:  # noqa: FBT001 - passed through
        """The parts down to an opaque one, and where the oldest one's layer looks further below."""
        for number, part in enumerate(parts):
            redirect = _attribute(part.fd, _REDIRECT)
            if redirect is not None and part.age != self._oldest:
                raise NotMergeableError("a directory was renamed", part.age)
            opaque = _attribute(part.fd, _OPAQUE)
            if opaque == b"y":
                return parts[: number + 1], None, True
            if opaque is not None:
                raise NotMergeableError("a directory is marked in a way that is not known")
        return parts, None if hides else redirect, hides

    def _subdirectory(self, parts: list[_Part], place: int, name: str, depth: int, *, hides: bool) -> None:
        below: list[_Part] = []
        try:
            for part in parts:
                try:
                    below.append(_Part(part.age, os.open(name, _DIRECTORY, dir_fd=part.fd)))
                except OSError as error:
                    if error.errno in {errno.ENOTDIR, errno.ELOOP}:
                        hides = True
                        break
                    if error.errno not in _GONE:
                        raise
            if below:
                self.directory(below, place, name, depth - 1, hides=hides)
        finally:
            for part in below:
                os.close(part.fd)


class _Kind(Enum):
    DIRECTORY = auto()
    FILE = auto()
    SPECIAL = auto()


def _entries(directory: int) -> Iterator[tuple[str, _Kind]]:
    with os.scandir(directory) as listing:
        for entry in listing:
            if entry.is_dir(follow_symlinks=False):
                kind = _Kind.DIRECTORY
            elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
                kind = _Kind.FILE
            else:
                kind = _Kind.SPECIAL
            yield entry.name, kind


def _is_whiteout(directory: int, name: str) -> bool:
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _link(source: int, name: str, target: int) -> None:
    try:
        os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.EMLINK:
            raise NotMergeableError("a file has too many links") from error
        raise


def _copy(source: int, name: str, target: int) -> None:
    try:
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISREG(status.st_mode):
            copy_file(source, name, target)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
        elif not stat.S_ISDIR(status.st_mode):  # a whiteout, a pipe, a socket
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=target)
            os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _GONE:
            raise


def copy_file(source: int, name: str, target: int) -> None:
    """Copy a regular file from one directory to another; nothing if it is none any more. Raises OSError."""
    with opened(name, _FILE, source) as original:
        if not stat.S_ISREG(os.fstat(original).st_mode):
            return
        with opened(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, target) as made:
            _copy_data(original, made)
            _copy_attributes(original, made)


def _copy_data(original: int, made: int) -> None:
    """Copy what there is of a sparse file, as large as it is now."""
    size = os.fstat(original).st_size
    os.ftruncate(made, size)
    position = 0
    while position < size:
        try:
            position = os.lseek(original, position, os.SEEK_DATA)
            end = min(size, os.lseek(original, position, os.SEEK_HOLE))
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        os.lseek(made, position, os.SEEK_SET)
        while position < end:
            copied = os.sendfile(made, original, position, end - position)  # between any two file systems
            if copied == 0:
                return  # it was cut meanwhile
            position += copied


def _copy_attributes(original: int, made: int) -> None:
    status = os.fstat(original)
    for name in os.listxattr(original):
        # What overlayfs notes of a directory is for the merge to decide; a file in a copied layer keeps its notes.
        if not name.startswith(_OVERLAY) or stat.S_ISREG(status.st_mode):
            with suppress(OSError):  # security modules do not let every attribute be set
                os.setxattr(made, name, os.getxattr(original, name))
    os.chown(made, status.st_uid, status.st_gid)
    os.chmod(made, stat.S_IMODE(status.st_mode))
    os.utime(made, ns=(status.st_atime_ns, status.st_mtime_ns))


def _attribute(descriptor: int, name: str) -> bytes | None:
    try:
        return os.getxattr(descriptor, name)
    except OSError as error:
        if error.errno in {errno.ENODATA, errno.EOPNOTSUPP}:
            return None
        raise


@contextmanager
def opened(name: str, flags: int, directory: int) -> Iterator[int]:
    """Open below a directory for a while."""
    descriptor = os.open(name, flags, 0o600, dir_fd=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def remove(layer: str) -> None:
    """Remove a layer from the disk, however deep its directories are. Idempotent."""
    path = f"{LAYERS}/{layer}"
    try:
        top = os.open(path, _DIRECTORY)
    except FileNotFoundError:
        return
    numbers = itertools.count()
    try:
        while directories := _empty(top):
            for name in directories:
                with opened(name, _DIRECTORY, top) as below:
                    for deeper in _empty(below):
                        # Moved up: so a tree of any depth is never more than two deep.
                        os.rename(deeper, f".{next(numbers)}", src_dir_fd=below, dst_dir_fd=top)
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(path)  # noqa: PTH106 - see _make


def _empty(directory: int) -> list[str]:
    """Remove all that is no directory; the names of those that are."""
    directories = []
    for name, kind in list(_entries(directory)):
        if kind is _Kind.DIRECTORY:
            directories.append(name)
        else:
            os.unlink(name, dir_fd=directory)
    return directories
