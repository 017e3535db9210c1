"""Takes memory that is mapped shared over into a fork: from the file in the new root, or as a copy.

Private memory is a fork's own by itself. Shared memory (``mmap(MAP_SHARED)``: numpy.memmap, mmap.mmap, the values and
locks of multiprocessing) stays one for all: files that are frozen, or memory that parent and children both write. A
mapping of a file with a path is made anew at the same addresses in each process's root (``remap``); one without, from
a copy made at the child's birth (``copy_unnamed``). Memory of devices cannot be had twice, which is said. Above:
``inventory``.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .open_files import COPY_BYTES, DELETED

MAPS = "/proc/self/maps"
PROCMAP_QUERY = 0xC0686611
"""ioctl(2) of ``MAPS``, Linux 6.11: asks for one mapping, where reading tells all 1500 of them."""
_QUERY = struct.Struct("=9Q4I2Q")
_NAME_BYTES = 4096
_READ, _WRITE, _EXECUTE, _SHARED, _OR_NEXT = 1, 2, 4, 8, 16
_MAP_FIXED = 0x10
_MAP_FAILED = ctypes.c_void_p(-1).value
_LINE = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) (...)s ([0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) (\d+) *(.*)$", re.MULTILINE)
_LIBC = ctypes.CDLL(None, use_errno=True)
_MMAP = _LIBC.mmap
_MMAP.restype = ctypes.c_void_p
_MMAP.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)


@dataclass(frozen=True, slots=True)
class SharedMapping:
    """``path``: None if no path leads to the file; ``protection`` and ``offset`` as for mmap(2)."""

    start: int
    end: int
    protection: int
    offset: int
    identity: tuple[int, int]
    path: str | None

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start


_of_template: set[tuple[int, int]] = set()


def find() -> None:
    """What is mapped now is the libraries': read-only files of the machine. Once, in the template."""
    _of_template.clear()
    _of_template.update((each.start, each.identity[1]) for each in _all())


def note() -> tuple[list[SharedMapping], list[str]]:
    """Write down what is mapped shared; and a name for each mapping that cannot be taken along."""
    taken, left = [], []
    for each in _all():
        if (each.start, each.identity[1]) in _of_template:
            continue
        if each.path is not None and _is_device(each.path):
            left.append(each.path)
        elif each.path is None and (each.size > COPY_BYTES or not each.protection & mmap.PROT_READ):
            left.append(f"{each.size >> 20} MiB of shared memory")
        else:
            taken.append(each)
    return taken, left


def _is_device(path: str) -> bool:
    return not path.startswith("/") or (path.startswith("/dev/") and not path.startswith("/dev/shm/"))  # noqa: S108


def _all() -> list[SharedMapping]:
    fd = os.open(MAPS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _queried(fd)
    except OSError:  # an older Linux
        with open(fd, "rb", closefd=False) as maps:
            return _parsed(maps.read())
    finally:
        os.close(fd)


def _queried(fd: int) -> list[SharedMapping]:
    found: list[SharedMapping] = []
    name = ctypes.create_string_buffer(_NAME_BYTES)
    address = 0
    while True:
        request = bytearray(
            _QUERY.pack(
                _QUERY.size, _SHARED | _OR_NEXT, address, *[0] * 6, 0, 0, _NAME_BYTES, 0, ctypes.addressof(name), 0
            )
        )
        try:
            fcntl.ioctl(fd, PROCMAP_QUERY, request)
        except FileNotFoundError:  # no more
            return found
        _, _, _, start, end, flags, _, offset, inode, major, minor, *_ = _QUERY.unpack(request)
        protection = _protection(bool(flags & _READ), bool(flags & _WRITE), bool(flags & _EXECUTE))
        identity = (os.makedev(major, minor), inode)
        found.append(SharedMapping(start, end, protection, offset, identity, _path(os.fsdecode(name.value))))
        address = end


def _parsed(maps: bytes) -> list[SharedMapping]:
    found: list[SharedMapping] = []
    for start, end, perms, offset, major, minor, inode, path in _LINE.findall(maps):
        protection = _protection(perms[:1] == b"r", perms[1:2] == b"w", perms[2:] == b"x")
        identity = (os.makedev(int(major, 16), int(minor, 16)), int(inode))
        where = _path(os.fsdecode(path).replace("\\012", "\n"))
        found.append(SharedMapping(int(start, 16), int(end, 16), protection, int(offset, 16), identity, where))
    return found


def _protection(readable: bool, writable: bool, executable: bool) -> int:  # noqa: FBT001  # three of a kind
    return (
        (mmap.PROT_READ if readable else 0)
        | (mmap.PROT_WRITE if writable else 0)
        | (mmap.PROT_EXEC if executable else 0)
    )


def _path(name: str) -> str | None:
    return None if not name or (name.endswith(DELETED) and not os.path.lexists(name)) else name


def remap(mappings: Iterable[SharedMapping]) -> list[str]:
    """Map all that have a path again, from this process's root; a sentence for each that could not be."""
    failures = []
    for each in mappings:
        if each.path is None:
            continue
        try:
            fd = os.open(each.path, (os.O_RDWR if each.protection & mmap.PROT_WRITE else os.O_RDONLY) | os.O_CLOEXEC)
            try:
                _map(each, fd)
            finally:
                os.close(fd)
        except OSError as error:
            failures.append(f"The mapped file {each.path} could not be mapped again: {error.strerror}.")
    return failures


def copy_unnamed(mappings: Iterable[SharedMapping], copies: Mapping[tuple[int, int], int]) -> None:
    """Put copies in place of shared memory without a path. ``copies``: of open files, which the same memory may be."""
    made: dict[tuple[int, int], int] = {}
    unnamed = [each for each in mappings if each.path is None]
    try:
        for each in unnamed:
            if each.identity not in copies:
                if each.identity not in made:
                    made[each.identity] = os.memfd_create("copied-by-fork", os.MFD_CLOEXEC)
                _write(each, made[each.identity])
        for each in unnamed:
            _map(each, copies.get(each.identity, made.get(each.identity, -1)))
    finally:
        for fd in made.values():
            os.close(fd)


def _write(mapping: SharedMapping, fd: int) -> None:
    end = mapping.offset + mapping.size
    os.ftruncate(fd, max(end, os.fstat(fd).st_size))
    memory = memoryview((ctypes.c_char * mapping.size).from_address(mapping.start)).cast("B")
    done = 0
    while done < mapping.size:
        try:
            written = os.pwrite(fd, memory[done : done + COPY_BYTES], mapping.offset + done)
        except OSError:  # EFAULT: beyond the file's end there is nothing to read
            return
        done += written


def _map(mapping: SharedMapping, fd: int) -> None:
    flags = mmap.MAP_SHARED | _MAP_FIXED
    placed = _MMAP(mapping.start, mapping.size, mapping.protection, flags, fd, mapping.offset)
    if placed == _MAP_FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), mapping.path)
