"""Moves memory of this process into a file in memory (memfd_create(2)), each page staying where it is.

A fork copies an entry of the page table for every anonymous page that there is, used or not. Of a file that is mapped
privately it copies none until the mapping is written to; then those that were used, some of them by either side. Pages
that are written to are copied as ever, and nobody writes to the file: it is sealed (``F_ADD_SEALS``), has no name, and
has exactly as many pages as were moved, so that no process which has it mapped can have it grow.

What is not to be moved: memory that is given back to Linux in part and taken for empty afterwards (madvise(2)
MADV_DONTNEED), or that grows in place (mremap(2)): a file would show what it had before, or its next pages.

Nothing may write to a range between the copy of it and the mapping of that copy, and Python writes to its objects with
every step. So the C library does both, one after the other, as contexts do (makecontext(3)): each ends in the next.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import signal
from pathlib import Path
from typing import NamedTuple

CONTEXT_BYTES = 4096
"""More than a ``ucontext_t`` has on any machine."""
STACK_BYTES = 64 << 10
LINK, STACK, STACK_SIZE = 8, 16, 32
"""Where a ``ucontext_t`` has uc_link, uc_stack.ss_sp and uc_stack.ss_size: on every 64-bit Linux."""
SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
MAP_FIXED = 0x10


class Mapping(NamedTuple):
    """Private memory. ``protection``: PROT_READ, PROT_WRITE, of mmap(2)."""

    start: int
    end: int
    protection: int


def move(mappings: list[Mapping]) -> bool:
    """Move them. False: they stay as they are, since this C library knows no contexts, or another thread could write
    to them. Raises OSError."""
    libc = ctypes.CDLL(None)
    if not mappings or not hasattr(libc, "makecontext") or _threads() > 1:
        return False
    size = sum(each.end - each.start for each in mappings)
    fd = os.memfd_create("podflare-template", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        with mmap.mmap(fd, size) as file:
            _fill_and_map(libc, file, fd, mappings)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    finally:
        os.close(fd)
    return True


def _threads() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def _fill_and_map(libc: ctypes.CDLL, file: mmap.mmap, fd: int, mappings: list[Mapping]) -> None:
    first = ctypes.c_char.from_buffer(file)
    chain = _Chain(libc)
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    offset = 0
    try:
        for start, end, protection in mappings:
            length = end - start
            chain.run(
                (libc.memcpy, (ctypes.addressof(first) + offset, start, length)),
                (libc.mmap, (start, length, protection, mmap.MAP_PRIVATE | MAP_FIXED, fd, offset)),
            )
            offset += length
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        del first  # by which the file is held


Call = tuple[object, tuple[int, ...]]
"""A function of the C library, and its arguments."""


class _Chain:
    """Calls two functions of the C library with nothing between them."""

    def __init__(self, libc: ctypes.CDLL) -> None:
        self._libc = libc
        self._memory = mmap.mmap(-1, 3 * (CONTEXT_BYTES + STACK_BYTES), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._back, *self._contexts = (start + place * (CONTEXT_BYTES + STACK_BYTES) for place in range(3))

    def run(self, first: Call, second: Call) -> None:
        """Call both. What they return is not told."""
        self._make(self._contexts[0], *first, then=self._contexts[1])
        self._make(self._contexts[1], *second, then=self._back)
        self._libc.swapcontext(ctypes.c_void_p(self._back), ctypes.c_void_p(self._contexts[0]))

    def _make(self, context: int, function: object, arguments: tuple[int, ...], *, then: int) -> None:
        self._libc.getcontext(ctypes.c_void_p(context))
        for place, value in ((LINK, then), (STACK, context + CONTEXT_BYTES), (STACK_SIZE, STACK_BYTES)):
            ctypes.c_size_t.from_address(context + place).value = value
        self._libc.makecontext(ctypes.c_void_p(context), function, len(arguments), *map(ctypes.c_long, arguments))
