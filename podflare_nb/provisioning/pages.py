"""Lays out the memory of a process that is forked again and again, so that its children copy little of it.

A child that writes to a page which it shares gets a copy of it. Its own objects would go wherever a place is free
among its parent's, each into another page; where none is free, they lie together (``fill``). And a fork copies the
page table, and what Linux knows of each mapping that has pages of its own: for what was moved into a file it copies
only what was used meanwhile (``file_backed``). That is Python's memory, as far as it is ``Gathered`` where nothing else
lies, the C library's heap, and the data of libraries.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import mmap
import os
import re
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

from . import file_backed, library_data

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
MAPS_BYTES = 4 << 20
"""More than the list of a process' mappings has; were it longer, its end would not count."""
MOST = 64 << 20
"""Bytes that are taken up in blocks of one size, at most."""
PAGE = mmap.PAGESIZE
PROTECTIONS = {"rw-p": mmap.PROT_READ | mmap.PROT_WRITE, "r--p": mmap.PROT_READ}
SMAPS = re.compile(
    r"^([0-9a-f]+)-([0-9a-f]+) (\S+) ([0-9a-f]+) \S+ \d+ *(.*)\n"
    r"(?:.*\n)*?Rss: *(\d+) kB\n"
    r"(?:.*\n)*?Anonymous: *(\d+) kB$",
    re.MULTILINE,
)
"""proc_pid_smaps(5)."""
Ranges = list[tuple[int, int]]
Block = TypeVar("Block")

_kept: list[object] = []
"""What takes up the places: for good."""


class Gathered:
    """A context manager: has Python take its memory in one piece, in which all that is made meanwhile lies.

    It takes an arena when it needs one, and whatever else needs memory meanwhile lies between. Arenas are used from the
    last to the first, so that what is left over is in one piece, too. ``ranges``: what of the piece is Python's in the
    end; in the rest of it anything may lie afterwards.
    """

    def __init__(self) -> None:
        self.ranges: Ranges = []

    def __enter__(self) -> Self:
        blocks: list[object] = [None] * (GATHERED // PYTHONS[0])  # at once: a list that grows lies between, too
        for place in range(len(blocks)):
            blocks[place] = _object(PYTHONS[0])
        self._start, self._end = min(map(id, blocks)), max(map(id, blocks)) + PYTHONS[0]
        self._kept = blocks[:: ARENA // PYTHONS[0] // 2]  # in each arena one or two, by which it stays
        blocks.clear()
        return self

    def __exit__(self, *_: object) -> None:
        self.end_here()

    def end_here(self) -> None:
        """What is made from now on may lie anywhere; what of the piece is not in use is given back. Idempotent."""
        if not self._kept:
            return
        buffer, read = memoryview(bytearray(MAPS_BYTES)), 0  # beforehand: else it could lie in what is given back
        self._kept.clear()
        with Path("/proc/self/maps").open("rb", buffering=0) as maps:
            while got := maps.readinto(buffer[read:]):
                read += got
        lines, _, _ = bytes(buffer[:read]).rpartition(b"\n")
        there = [_range(line) for line in lines.decode(errors="replace").splitlines()]
        self.ranges = [each for memory in there for each in _common(memory, [(self._start, self._end)])]


def lay_out(gathered: Gathered | None = None) -> None:
    """Fill what is free, and let the garbage collector leave alone what is there now, in the children as well. With
    what was gathered: move it, too, with all else that can be moved."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what is wholly free is given back, not taken up
    fill()
    gc.freeze()
    if gathered is not None:
        _end_threads()
        with contextlib.suppress(OSError):  # there is no such file here: forks cost more then
            file_backed.move(_movable(gathered))


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


def _end_threads() -> None:
    """Fork once: libraries that have threads of their own (OpenBLAS) end them before, to start them when needed."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


class _Memory(NamedTuple):
    """A mapping of this process. ``offset``: in the file that it is of. ``resident`` and ``own``: bytes of it in
    memory, and those of them that are no file's."""

    start: int
    end: int
    permissions: str
    offset: int
    name: str
    resident: int
    own: int


def _movable(gathered: Gathered) -> list[file_backed.Mapping]:
    """What can be moved: of the C library's heap, Python's arenas and libraries' data no part is ever taken for empty
    when it was given back, and none grows in place. Of other memory nothing is known."""
    memory = list(_memory())
    known = [*gathered.ranges, *_library_data(memory)]
    return [
        file_backed.Mapping(start, end, PROTECTIONS[each.permissions])
        for each in memory
        if each.permissions in PROTECTIONS and each.own and (each.name or each.resident * 2 > each.end - each.start)
        for start, end in (
            [(each.start, each.end)] if each.name == "[heap]" else _common((each.start, each.end), known)
        )
    ]


def _library_data(memory: list[_Memory]) -> Iterator[tuple[int, int]]:
    for each, after in pairwise(memory):
        if each.name.startswith("/") and each.name == after.name and each.offset == 0:
            with contextlib.suppress(OSError):  # it has been removed since
                yield from library_data.segments(Path(each.name), each.start)


def _common(memory: tuple[int, int], ranges: Ranges) -> Ranges:
    """What is in both, in whole pages, in order."""
    both = ((max(memory[0], start // PAGE * PAGE), min(memory[1], -(-end // PAGE) * PAGE)) for start, end in ranges)
    return sorted((start, end) for start, end in both if start < end)


def _memory() -> Iterator[_Memory]:
    text = Path("/proc/self/smaps").read_text(errors="replace")
    for start, end, permissions, offset, name, *kib in SMAPS.findall(text):
        resident, own = (int(each) * 1024 for each in kib)
        yield _Memory(int(start, 16), int(end, 16), permissions, int(offset, 16), name, resident, own)


def _maps() -> list[str]:
    return Path("/proc/self/maps").read_text(errors="replace").splitlines()


def _range(line: str) -> tuple[int, int]:
    start, _, end = line.split(maxsplit=1)[0].partition("-")
    return int(start, 16), int(end, 16)
