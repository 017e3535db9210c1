"""Where the variables of the libraries that a process has loaded lie (elf(5))."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

PAGE = 4096
FILE_HEADER = struct.Struct("<4sB27xQ14x2H6x")
"""Elf64_Ehdr: magic number, class; where the program headers are; how large each is, and how many there are."""
ELF, CLASS_64 = b"\x7fELF", 2
PROGRAM_HEADER = struct.Struct("<2I6Q")
"""Elf64_Phdr: type, flags, offset, address, physical address, size in the file, size in memory, alignment."""
PT_LOAD = 1
PF_W = 2


class Segment(NamedTuple):
    """Addresses of what can be, or could once be, written to: initialised variables, and those that begin as zeros."""

    start: int
    end: int


def segments(path: Path, base: int) -> list[Segment]:
    """Those of the library in this file, whose first byte was mapped to ``base``; none if it is no 64-bit library.

    Raises OSError.
    """
    with path.open("rb") as file:
        header = file.read(FILE_HEADER.size)
        if not header.startswith(ELF) or len(header) < FILE_HEADER.size:
            return []
        _, of_class, offset, size, count = FILE_HEADER.unpack(header)
        if of_class != CLASS_64:
            return []
        file.seek(offset)
        table = file.read(size * count)
    headers = [PROGRAM_HEADER.unpack_from(table, place * size) for place in range(count)]
    loaded = [(flags, address, length) for kind, flags, _, address, _, _, length, _ in headers if kind == PT_LOAD]
    if not loaded:
        return []
    first = min(address for _, address, _ in loaded) // PAGE * PAGE
    return [Segment(base - first + at, base - first + at + length) for flags, at, length in loaded if flags & PF_W]
