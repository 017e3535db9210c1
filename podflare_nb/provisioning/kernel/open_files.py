"""Takes regular files and directories that are open over into a fork: each process with an offset of its own.

A fork copies numbers; behind them stand the parent's open files, with one offset for all, in a root whose files are
frozen from then on. So a child has nothing of them (``let_go``) until it opens what was written down before (``note``)
anew under the same numbers, by path in its new root (``reopen``). What has no path any more, unlinked or never named,
is copied at the child's birth (``copy_unnamed``), while the parent stands still. The parent has threads that go on
meanwhile: it has again what is open when it has moved (``left_behind``, ``follow``). Above: ``inventory``; below:
``file_locks``, Linux.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import itertools
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from .descriptors import LISTING, STANDARD, Descriptor, Held, listed, numbers
from .file_locks import FileLock, held, take_again

DELETED = " (deleted)"
COPY_BYTES = 1 << 30
"""Larger files without a name are not copied."""
CHUNK_BYTES = 1 << 20
WRITE_MICROSECONDS = 100
"""Within that a write that was begun is done, most likely."""
_NOT_AGAIN = os.O_CREAT | os.O_EXCL | os.O_TRUNC | os.O_NOCTTY | os.O_NOFOLLOW
_close, _open, _dup2, _pread, _pwrite = os.close, os.open, os.dup2, os.pread, os.pwrite


def _locked(name: str, result: type, *arguments: type) -> Callable[..., int]:
    """A function of the C library, called with Python's lock held."""
    function = getattr(_LIBC, name)
    function.restype, function.argtypes = result, arguments
    return cast("Callable[..., int]", function)


_LIBC = ctypes.PyDLL(None)
_locked_open = _locked("open", ctypes.c_int, ctypes.c_char_p, ctypes.c_int)
_locked_lseek = _locked("lseek", ctypes.c_int64, ctypes.c_int, ctypes.c_int64, ctypes.c_int)
_locked_dup3 = _locked("dup3", ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int)
_locked_fcntl = _locked("fcntl", ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int)
_locked_usleep = _locked("usleep", ctypes.c_int, ctypes.c_uint)
_locked_close = _locked("close", ctypes.c_int, ctypes.c_int)


@dataclass(frozen=True, slots=True)
class OpenFile:
    """An open file or directory. ``path``: None if no path leads to it; ``like``: the number it shares its offset
    with, because one is a copy of the other (dup(2))."""

    fd: int
    path: str | None
    flags: int
    offset: int
    identity: tuple[int, int]
    kind: int
    size: int
    like: int | None
    locks: tuple[FileLock, ...]

    @property
    def is_written(self) -> bool:
        """Whether it is open to be written to."""
        return not self.flags & os.O_PATH and self.flags & os.O_ACCMODE != os.O_RDONLY

    @property
    def flags_again(self) -> int:
        """For open(2) of what is there already."""
        once = _NOT_AGAIN
        if self.flags & os.O_TMPFILE == os.O_TMPFILE:  # a bit of its own, and that of a directory
            once |= os.O_TMPFILE
        return self.flags & ~once | os.O_CLOEXEC


def note(descriptors: Iterable[Descriptor]) -> list[OpenFile]:
    """Write down what is open. System files (/proc, /sys) and what is no file at all are left out."""
    system = _system_devices()
    found: list[OpenFile] = []
    for each in descriptors:
        if not _is_file(each) or each.device in system:
            continue
        with each.unless_gone():
            link = each.link
            if link.startswith("/"):  # not a namespace's or a process's descriptor
                path = link if _leads_to(link, (each.device, each.inode)) else None
                found.append(_noted(each, path, found))
    return found


def left_behind(root: int) -> list[OpenFile]:
    """What this process has open, by a path, in a root (a descriptor) that it has left: as it is now.

    Since it was written down the user's threads have gone on: read, written, closed, and opened more.
    """
    prefix = os.readlink(f"{LISTING}/{root}").rstrip("/")  # noqa: PTH115  # a Path would cost more than the call
    system = _system_devices()
    found: list[OpenFile] = []
    for each in listed(numbers()):
        if each.fd < STANDARD or each.fd == root or not _is_file(each) or each.device in system:
            continue
        with each.unless_gone():
            link = each.link
            path = link.removeprefix(prefix)
            unlinked = link.endswith(DELETED) and not os.access(path, os.F_OK)
            if link.startswith(f"{prefix}/") and not unlinked:
                found.append(_noted(each, path, found))
    return found


def _is_file(descriptor: Descriptor) -> bool:
    return stat.S_ISREG(descriptor.mode) or stat.S_ISDIR(descriptor.mode)


def _system_devices() -> set[int]:
    devices = set()
    for place in ("/proc", "/sys", "/sys/fs/cgroup"):
        with contextlib.suppress(OSError):
            devices.add(os.stat(place).st_dev)  # noqa: PTH116  # a Path would cost more than the call
    return devices - {os.stat("/").st_dev}  # noqa: PTH116  # without mounts: a plain directory in a plain root


def _noted(descriptor: Descriptor, path: str | None, before: Sequence[OpenFile]) -> OpenFile:
    fd, identity = descriptor.fd, (descriptor.device, descriptor.inode)
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    offset = 0 if flags & os.O_PATH else os.lseek(fd, 0, os.SEEK_CUR)
    like = None
    for other in before:
        if other.identity == identity and other.flags == flags and other.offset == offset and _moves_with(fd, other):
            like = other.fd
    regular = stat.S_ISREG(descriptor.mode) and not flags & os.O_PATH
    locks = held(fd) if regular else ()
    kind = stat.S_IFMT(descriptor.mode)
    return OpenFile(fd, path, flags, offset, identity, kind, os.fstat(fd).st_size, like, locks)


def _leads_to(path: str, identity: tuple[int, int]) -> bool:
    """Of a file that was unlinked Linux tells a path that is none, or another file's by now."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == identity or not path.endswith(DELETED)


def _moves_with(fd: int, other: OpenFile) -> bool:
    """Whether both have one offset: kcmp(2) would tell, but the jail does not allow it."""
    if other.flags & os.O_PATH or other.like is not None:
        return False
    try:
        os.lseek(other.fd, other.offset + 1, os.SEEK_SET)
        moved = os.lseek(fd, 0, os.SEEK_CUR) != other.offset
        os.lseek(other.fd, other.offset, os.SEEK_SET)
    except OSError:  # a directory's offset may be no number to add to
        return False
    return moved


def reopen(files: Iterable[OpenFile], null: int) -> list[str]:
    """In a child: open all that have a path again, in its root; a sentence for each that could not be.

    ``null``: what ``let_go`` has put in their places. A number that leads to something else by now was given up by its
    owner since it was written down, and may be somebody else's.
    """
    sentences: list[str] = []
    again: set[int] = set()
    stands_for = behind(null)
    for each in files:
        if each.path is None or behind(each.fd) != stands_for:
            continue
        if each.like is not None and each.like in again:
            _put(each.like, each.fd, close=False)
            continue
        is_there, sentence = _reopen(each)
        sentences += [sentence] if sentence else []
        if is_there:
            again.add(each.fd)
    return sentences


def follow(files: Sequence[OpenFile], null: int, *, beside_threads: bool) -> list[str]:
    """In the parent: have all that was ``left_behind`` in its new root; a sentence for each that could not be.

    ``null``: takes the place of what can be neither written to nor read there; ``beside_threads``: of the user's, who
    may be writing just then.
    """
    copies = {each.fd: [other.fd for other in files if other.like == each.fd] for each in files}
    wait = WRITE_MICROSECONDS if beside_threads else 0
    sentences = [_follow(each, copies[each.fd], null, wait) for each in files if each.like is None]
    return [each for each in sentences if each is not None]


def behind(fd: int) -> tuple[int, int] | None:
    """What stands behind a number; None if nothing does."""
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _reopen(file: OpenFile) -> tuple[bool, str | None]:
    """Whether it is there again, and what is to be told. For reading, if no more can be had: a file to write to is
    copied in the new root, and the disk may be full."""
    sentence = None
    try:
        fresh = _opened(file, file.flags_again)
    except OSError as error:
        sentence = f"The open file {file.path} (descriptor {file.fd}) could not be opened again: {error.strerror}."
        if not file.is_written:
            return False, sentence
        try:
            fresh = _opened(file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False, sentence
        sentence += " It can only be read."
    _put(fresh, file.fd)
    return True, sentence


def _opened(file: OpenFile, flags: int) -> int:
    """Raises OSError."""
    fresh = _open(file.path or "", flags | os.O_NONBLOCK)  # it may be something else by now: a FIFO
    if stat.S_IFMT(os.fstat(fresh).st_mode) != file.kind:
        _close(fresh)
        raise OSError(errno.ESTALE, "something else is in its place")
    if not file.flags & os.O_PATH:
        fcntl.fcntl(fresh, fcntl.F_SETFL, file.flags)
        with contextlib.suppress(OSError):  # a directory's place may be gone
            os.lseek(fresh, file.offset, os.SEEK_SET)
    return fresh


def _follow(file: OpenFile, copies: Sequence[int], null: int, wait: int) -> str | None:
    """Also for its ``copies`` by dup(2). Nothing if its owner has given it up just now."""
    path = file.path or ""
    try:
        same = stat.S_IFMT(os.stat(path).st_mode) == file.kind  # noqa: PTH116  # a Path would cost more than the call
    except OSError:
        same = False
    fds = [fd for fd in (file.fd, *copies) if behind(fd) == file.identity]
    if file.fd not in fds:
        return None
    sentence = None
    with contextlib.suppress(OSError):  # its owner gives it up just now
        fresh = _take_place(file, os.fsencode(path), fds, wait) if same else -1
        if fresh is None or fresh >= 0:
            return None
        is_there, sentence = _reopen(file)
        if is_there or file.is_written:  # to the old one nobody may write: the children's files stand on it
            for fd in fds[1:] if is_there else fds:
                _put(file.fd if is_there else null, fd, close=False)
    return sentence


def _take_place(file: OpenFile, path: bytes, fds: Sequence[int], wait: int) -> int | None:
    """Open it anew under these numbers. What open(2) said; None if it is not there any more.

    What a thread of the user's wrote between two steps would be lost, or written to somebody else's file. So from the
    look at it on, over its opening, which copies it in the new root if it is to be written to, until it is in place,
    Python's lock is held: who has just got it has it for some milliseconds (sys.getswitchinterval), and each of the
    maps is a loop in C, over functions that keep it. Who has given it up for a write is waited for.
    """
    places = [(fd, 0 if os.get_inheritable(fd) else os.O_CLOEXEC) for fd in fds]
    same = behind(file.fd) == file.identity
    if wait and file.is_written:
        _locked_usleep(wait)
    if not same or _locked_fcntl(file.fd, fcntl.F_GETFL, 0) != file.flags:
        return None
    opening = map(_locked_open, [path], [file.flags_again | os.O_NONBLOCK])
    opened, sought, ended, *put = itertools.tee(opening, 3 + len(places))
    offsets = map(_locked_lseek, [file.fd], [0], [os.SEEK_CUR])
    steps = [
        opened,
        map(_locked_lseek, sought, offsets, [os.SEEK_SET]),
        *(map(_locked_dup3, fresh, [fd], [flags]) for fresh, (fd, flags) in zip(put, places, strict=True)),
        map(_locked_fcntl, [file.fd], [fcntl.F_SETFL], [file.flags]),
        map(_locked_close, ended),
    ]
    ((fresh, *_),) = zip(*steps, strict=True)
    return int(fresh)


def lock(files: Iterable[OpenFile]) -> list[str]:
    """Take the locks that there were, when all files are open again; the path of each file that somebody else has."""
    return [f"{each.path}" for each in files if each.path is not None and not take_again(each.fd, each.locks)]


def let_go(files: Iterable[OpenFile], null: int) -> None:
    """In a new child: of all that ``reopen`` will open. Their locks are the parent's alone.

    What belonged to something that no child has (the parent's loop) may have been closed with it.
    """
    for each in files:
        if each.path is not None and behind(each.fd) == each.identity:
            _put(null, each.fd, close=False)


def _put(fresh: int, fd: int, *, close: bool = True) -> None:
    _dup2(fresh, fd, inheritable=os.get_inheritable(fd))
    if close:
        _close(fresh)


def copy_unnamed(files: Iterable[OpenFile], held: Held) -> dict[tuple[int, int], int]:
    """Put copies in place of files without a path. Returns a descriptor of each copy, by the original's identity."""
    copies: dict[tuple[int, int], int] = {}
    for file in files:
        if file.path is not None or file.size > COPY_BYTES or file.flags & os.O_PATH or behind(file.fd) is None:
            continue
        if file.like is not None and behind(file.like) is not None:
            _put(file.like, file.fd, close=False)
            continue
        if file.identity not in copies:
            copies[file.identity] = _copied(file.fd, file.size, held)
        fresh = held.opened_again(copies[file.identity], file.flags_again)
        os.lseek(fresh, file.offset, os.SEEK_SET)
        _put(fresh, file.fd)
    return copies


def _copied(fd: int, size: int, held: Held) -> int:
    source = held.opened_again(fd, os.O_RDONLY)  # whatever it was opened for
    copy = os.memfd_create("copied-by-fork", os.MFD_CLOEXEC)
    try:
        os.ftruncate(copy, size)
        offset = 0
        while offset < size:
            try:
                offset = os.lseek(source, offset, os.SEEK_DATA)
            except OSError:  # nothing but a hole from here on
                break
            end = min(os.lseek(source, offset, os.SEEK_HOLE), size)
            while offset < end:
                data = _pread(source, min(CHUNK_BYTES, end - offset), offset)
                if not data:
                    return copy  # it became shorter
                offset += _pwrite(copy, data, offset)
    finally:
        _close(source)
    return copy
