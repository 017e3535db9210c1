"""The files of a journal: segments, which stand one after the other and are read as one.

A segment's name tells at which byte of the journal it begins (``journal.jsonl`` at 0, then
``journal.<begin>.jsonl``), so that a position in the journal is one number, whatever the files are. A fork
gives the child the same bytes at the same positions: large segments as hard links, small ones as copies. Only
a last segment that has one link is written; a file with more belongs to other journals, too, and is never
written again. Deleting a journal leaves the others theirs.
``journal`` and ``folding`` stand above; this stands on nothing.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeVar

FIRST = "journal.jsonl"
NAME = re.compile(r"journal(?:\.(\d{1,19}))?\.jsonl")

SMALL = 65_536
"""Bytes up to which copying a segment costs no more than linking it, and keeps the number of files down."""

MOST_OPEN = 8
"""Descriptors that one reader holds."""

_CANNOT_LINK = {errno.EMLINK, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS}

Record = dict[str, Any]
Taken = TypeVar("Taken")


@dataclass(frozen=True, slots=True)
class Segment:
    """One file: the journal's bytes from ``begin`` on; ``links`` is in how many journals it stands."""

    path: Path
    begin: int
    size: int
    links: int

    @property
    def end(self) -> int:
        """The position after its last byte."""
        return self.begin + self.size


def name_of(begin: int) -> str:
    """Name the segment that begins there."""
    return f"journal.{begin:019}.jsonl" if begin else FIRST


def segments(directory: Path) -> list[Segment]:
    """List the segments of the journal in ``directory``, in order; none if there is no such directory."""
    found = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if match := NAME.fullmatch(entry.name):
                    state = entry.stat()
                    found.append(Segment(directory / entry.name, int(match[1] or 0), state.st_size, state.st_nlink))
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda segment: segment.begin)


def size_of(directory: Path) -> int:
    """The position after the journal's last byte."""
    found = segments(directory)
    return found[-1].end if found else 0


def parse(line: bytes) -> Record | None:
    """Parse one line; None if it is not a record."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("t"), str) else None


class Reader:
    """Reads a journal by positions. A context manager; it sees what was there when it was made, and what the
    last of the segments gains."""

    def __init__(self, directory: Path) -> None:
        self._segments = segments(directory)
        self._files: dict[Path, BinaryIO] = {}

    def __repr__(self) -> str:
        return f"<Reader of {len(self._segments)} segments, {len(self._files)} open>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()

    def records(self, begin: int, end: int | None = None) -> Iterator[tuple[Record | None, int, int]]:
        """Yield each whole record with where it begins and ends; None for a line that is damaged.

        A last line without its newline is not yielded: it is torn, or still being written.
        """
        return self._walk(begin, end, parse)

    def lines(self, begin: int, end: int | None = None) -> Iterator[tuple[bytes | None, int, int]]:
        """Yield each whole line; None for what is torn or missing between two segments."""
        return self._walk(begin, end, bytes)

    def _walk(
        self, begin: int, end: int | None, take: Callable[[bytes], Taken | None]
    ) -> Iterator[tuple[Taken | None, int, int]]:
        for number, segment in enumerate(self._segments):
            is_last = number == len(self._segments) - 1
            after = None if is_last else self._segments[number + 1].begin
            if after is not None and after <= begin:
                continue
            position = max(begin, segment.begin)
            while end is None or position < end:
                taken, size = self._next_line(segment, position, take)
                if not size:
                    break
                if size > 1:
                    yield taken, position, position + size
                position += size
            if end is not None and position >= end:
                return
            if after is not None and position < after:
                yield None, position, after

    def _next_line(
        self, segment: Segment, position: int, take: Callable[[bytes], Taken | None]
    ) -> tuple[Taken | None, int]:
        """Take the line there and give its length, 0 if it is not whole; the line itself is not held any longer."""
        try:
            file = self._open(segment)
        except FileNotFoundError:
            return None, 0  # the journal was deleted
        file.seek(position - segment.begin)  # another walk in the same segment may have moved on
        line = file.readline()
        return (take(line), len(line)) if line.endswith(b"\n") else (None, 0)

    def _open(self, segment: Segment) -> BinaryIO:
        file = self._files.pop(segment.path, None) or segment.path.open("rb")
        self._files[segment.path] = file
        if len(self._files) > MOST_OPEN:
            self._files.pop(next(iter(self._files))).close()
        return file


def copy(begin: int, end: int, found: list[Segment]) -> Iterator[bytes]:
    """Give the bytes from ``begin`` to ``end``, in pieces of whole segments at most."""
    for segment in found:
        start, stop = max(begin, segment.begin), min(end, segment.end)
        if start < stop:
            with segment.path.open("rb") as file:
                file.seek(start - segment.begin)
                yield file.read(stop - start)


def link(segment: Segment, target: Path) -> None:
    """Make ``target`` another name of a segment, or a copy of it where the file system has no more names."""
    try:
        os.link(segment.path, target)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        shutil.copyfile(segment.path, target)


def share(directory: Path, target: Path) -> int:
    """Give ``target`` (a new directory) the journal of ``directory`` up to its last whole line.

    The work grows with the number of segments, not with their size. Returns the position where the journal of
    ``target`` goes on: the last of its files, when it was copied, is its own to write.
    """
    with ExitStack() as closing:
        end, copied = 0, None
        for segment in segments(directory):
            if segment.size > SMALL:
                link(segment, target / name_of(segment.begin))
                end, copied = segment.end, None
                continue
            data = segment.path.read_bytes()
            data = data[: data.rfind(b"\n") + 1]
            if copied is None or end != segment.begin:
                copied = closing.enter_context((target / name_of(segment.begin)).open("xb"))
            copied.write(data)
            end = segment.begin + len(data)
    return end
