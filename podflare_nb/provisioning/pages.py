"""Lays out the memory of a process that is forked again and again, so that its children copy little of it.

A child that writes to a page which it shares gets a copy of it. Its own objects would go wherever a place is free
among its parent's, each into another page; where none is free, they lie together (``fill``). And a fork copies the
page table, one entry for each 4 KiB; for a huge page one for 2 MiB (``Gathered``, ``collapse``). A child that writes to
one of these gets a copy of 4 KiB all the same. (madvise(2) MADV_COLLAPSE, Linux 6.1; elsewhere nothing happens.)
"""

from __future__ import annotations

import ctypes
import gc
import sys
from bisect import bisect_right
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

HUGE = 2 << 20
MADV_COLLAPSE = 25
STEP = 16
"""Bytes between the sizes of blocks: Python's own (``Objects/obmalloc.c``), and the C library's."""
PYTHONS = range(512, 0, -STEP)
"""Blocks that Python keeps; larger ones are the C library's. The largest first, which take up what is wholly free."""
C_LIBRARYS = (*(1 << power for power in range(16, 10, -1)), *range(1024, STEP, -STEP))
C_HEADER = 8
ARENA = 1 << 20
"""What Python takes at a time."""
GATHERED = 128 << 20
"""As much as the data science template needs, and some more; what is not used is given back."""
MOST = 64 << 20
"""Bytes that are taken up in blocks of one size, at most."""
Ranges = list[tuple[int, int]]
Block = TypeVar("Block")

_kept: list[object] = []
"""What takes up the places: for good."""


class Gathered:
    """A context manager: has Python take its memory in one piece, in which all that is made meanwhile lies.

    It takes an arena when it needs one, and libraries that are loaded meanwhile lie between: the pieces would be too
    small for huge pages. Arenas are used from the last to the first, so that what is left over is in one piece, too.
    """

    def __enter__(self) -> None:
        blocks: list[object] = [None] * (GATHERED // PYTHONS[0])  # at once: a list that grows lies between, too
        for place in range(len(blocks)):
            blocks[place] = _object(PYTHONS[0])
        self._kept = blocks[:: ARENA // PYTHONS[0] // 2]  # in each arena one or two, by which it stays
        blocks.clear()

    def __exit__(self, *_: object) -> None:
        self._kept.clear()


def lay_out() -> None:
    """All that can be done. The garbage collector leaves what is there now alone, in the children as well."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what is wholly free is given back, not taken up
    fill()
    gc.freeze()
    collapse()


def fill() -> None:
    """Take up what is free between objects in this process, in blocks of every small size."""
    there = sorted(_range(line) for line in _maps())
    _kept.extend(_take_up(partial(_object, size), id, size, there) for size in PYTHONS)
    malloc = ctypes.CDLL(None).malloc
    malloc.restype, malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    for size in C_LIBRARYS:
        _take_up(partial(malloc, size - C_HEADER), int, size, there)


def _take_up(make: Callable[[], Block], address: Callable[[Block], int], size: int, there: Ranges) -> list[Block]:
    """Make blocks until one lies in memory that was not there before."""
    made = []
    for _ in range(MOST // size):
        block = make()
        made.append(block)
        if not _lies_in(address(block), there):
            break
    return made


def _lies_in(address: int, ranges: Ranges) -> bool:
    before = bisect_right(ranges, address, key=lambda each: each[0]) - 1
    return before >= 0 and address < ranges[before][1]


def _object(size: int) -> object:
    """A new one for which Python takes a block of that size."""
    if size == STEP:
        return object()
    return float(size) if size == 2 * STEP else bytes(size - sys.getsizeof(b""))


def collapse() -> None:
    """Collapse the private anonymous memory of this process, as far as Linux can."""
    libc = ctypes.CDLL(None)
    for line in _maps():
        start, end = _range(line)
        start, end = -(-start // HUGE) * HUGE, end // HUGE * HUGE  # the whole huge pages in it
        if start < end and _is_heap(line):
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), MADV_COLLAPSE)


def _maps() -> list[str]:
    return Path("/proc/self/maps").read_text(errors="replace").splitlines()


def _is_heap(line: str) -> bool:
    fields = line.split()
    return fields[1] == "rw-p" and (len(fields) < 6 or fields[5] == "[heap]")


def _range(line: str) -> tuple[int, int]:
    start, _, end = line.split(maxsplit=1)[0].partition("-")
    return int(start, 16), int(end, 16)
