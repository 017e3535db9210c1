"""Takes locks on files over to the parent's side of a fork: flock(2), fcntl(2)'s of a process and of an open file.

A fork's parent opens its files anew, and a new open file has no locks. They are written down with the file (``held``)
and taken again when all files are open (``take_again``), since closing any descriptor of a file ends the process's own
locks on it. Children hold none: one lock has one holder. Above: ``open_files``.
"""

from __future__ import annotations

import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path

_FLOCK = struct.Struct("hhqqi4x")
"""``struct flock`` of 64-bit Linux."""
_OF_PROCESS = fcntl.F_SETLK
_OF_OPEN_FILE = 37  # F_OFD_SETLK; Python has it from 3.13 on
_COMMANDS = {"POSIX": _OF_PROCESS, "OFDLCK": _OF_OPEN_FILE}


@dataclass(frozen=True, slots=True)
class FileLock:
    """``kind``: FLOCK, POSIX or OFDLCK, as Linux calls them; ``length``: 0 to the end of the file."""

    kind: str
    exclusive: bool
    start: int
    length: int


def held(fd: int) -> tuple[FileLock, ...]:
    """The locks that this process has by a descriptor."""
    try:
        lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    except OSError:  # closed since
        return ()
    return tuple(_parsed(line.split()) for line in lines if line.startswith("lock:") and line.split()[2] in _KINDS)


_KINDS = frozenset({"FLOCK", *_COMMANDS})


def _parsed(fields: list[str]) -> FileLock:
    """``lock: 1: FLOCK ADVISORY WRITE pid device:inode start end``."""
    start, end = int(fields[-2]), fields[-1]
    return FileLock(fields[2], fields[4] == "WRITE", start, 0 if end == "EOF" else int(end) - start + 1)


def take_again(fd: int, locks: tuple[FileLock, ...]) -> bool:
    """Whether all could be had, without waiting."""
    try:
        for each in locks:
            if each.kind == "FLOCK":
                fcntl.flock(fd, (fcntl.LOCK_EX if each.exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            else:
                kind = fcntl.F_WRLCK if each.exclusive else fcntl.F_RDLCK
                wanted = _FLOCK.pack(kind, os.SEEK_SET, each.start, each.length, 0)
                fcntl.fcntl(fd, _COMMANDS[each.kind], wanted)
    except OSError:
        return False
    return True
