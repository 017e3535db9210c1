"""The journal: an append-only sequence of records, one JSON object a line, which is the truth of a transcript.

One record is one ``os.write`` to a file opened with O_APPEND, made before any client is told of what it
records. There is no fsync per record: a server that is killed (kill -9) loses nothing, because the page cache
outlives the process; a machine that loses power may lose the last seconds. ``sync`` makes everything durable;
the transcript calls it in a worker thread when a turn ends and when the sandbox closes.

Recording never stops an execution. When the disk is full the record is dropped, the file is cut back to its
last whole line, the loss is logged, and the next record that fits is preceded by one that tells how many
were lost. A lock on the directory keeps it to one writer. ``segments`` are its files; ``transcript`` writes.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import ConflictError
from .segments import FIRST, SMALL, Segment, copy, link, name_of, segments, size_of

log = logging.getLogger(__name__)

TORN_SUFFIX = ".torn"
_TAIL_BLOCK = 65_536

encode = json.JSONEncoder(separators=(",", ":"), default=str).encode


class Journal:
    """The writer's end. ``lost`` counts the records that could not be written and are not told of yet."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lost = 0
        self._fd = -1
        self._lock = -1
        self._begin = 0
        self._size = 0
        self._prefix = b""

    def __repr__(self) -> str:
        state = "open" if self._fd >= 0 else "at rest"
        return f"<Journal {self.directory} {state}, {self.lost} lost>"

    @property
    def end(self) -> int:
        """The position after the last byte."""
        return self._begin + self._size if self._fd >= 0 else size_of(self.directory)

    def open(self) -> int:
        """Open for writing and take the lock; returns how many bytes of a torn last line were set aside.

        Idempotent. Raises OSError, and ConflictError when another process writes here.
        """
        if self._fd >= 0:
            return 0
        self._take_lock()
        try:
            found = segments(self.directory)
            last = found[-1] if found else Segment(self.directory / FIRST, 0, 0, 1)
            if last.links > 1:  # other journals have it, too: see ``segments``
                last = Segment(self.directory / name_of(last.end), last.end, 0, 1)
            fd = os.open(last.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                torn = _set_torn_line_aside(last.path, fd, last.size) if last.size else 0
            except BaseException:
                os.close(fd)
                raise
        except BaseException:
            self._drop_lock()
            raise
        self._fd, self._begin, self._size = fd, last.begin, last.size - torn
        return torn

    def append(self, record: Mapping[str, Any]) -> bool:
        """Write one record; False when it was lost (disk full, or nothing that JSON can hold)."""
        try:
            line = encode(record)
            line += "\n"  # in place: a line may have megabytes
            return self._write(line.encode("ascii"))
        except (ValueError, RecursionError) as error:
            return self._lose(error)

    def adopt(self, other: Journal, begin: int) -> bool:
        """Append what ``other`` holds from ``begin`` on; large segments become this journal's, too.

        False when a part was lost. ``other`` may go on: it writes into a segment of its own.
        """
        other.release()
        found, end = segments(other.directory), other.end
        whole = True
        for segment in found:
            if segment.end <= begin:
                continue
            if segment.begin >= begin and segment.size > SMALL:
                whole = self._adopt_segment(segment) and whole
                continue
            for data in copy(begin, end, [segment]):
                whole_lines = data[: data.rfind(b"\n") + 1]
                whole = (not whole_lines or self._write(whole_lines)) and whole
        return whole

    def repeat(self, lines: Iterable[bytes]) -> bool:
        """Append lines of a journal as they are; False when a part was lost."""
        whole = True
        for line in lines:
            whole = self._write(line) and whole
        return whole

    def sync_job(self) -> int | None:
        """Give a descriptor for ``sync`` in a thread: its own, so that ``release`` cannot pull it away."""
        return None if self._fd < 0 else os.dup(self._fd)

    def release(self) -> None:
        """Close the file and give up the lock; the next append opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._drop_lock()

    def _write(self, lines: bytes) -> bool:
        if self.lost or self._prefix:
            lines = self._prefix + encode({"t": "lost", "records": self.lost}).encode("ascii") + b"\n" + lines
        try:
            self.open()
            written = os.write(self._fd, lines)
        except (OSError, ConflictError) as error:
            return self._lose(error)
        if written < len(lines):
            return self._cut_back()
        self._size += written
        self.lost, self._prefix = 0, b""
        return True

    def _adopt_segment(self, segment: Segment) -> bool:
        """Take a whole segment in; what comes next goes into a new one, because this has more than one name."""
        try:
            self.open()
            if not self._size:  # just begun by opening it: the other takes its place
                (self.directory / name_of(self._begin)).unlink()
            link(segment, self.directory / name_of(self.end))
        except (OSError, ConflictError) as error:
            return self._lose(error)
        self.release()
        return True

    def _cut_back(self) -> bool:
        """Remove a record that fitted in part; if even that fails, the next starts on its own line."""
        try:
            os.ftruncate(self._fd, self._size)
        except OSError:
            self._prefix = b"\n"
            self._size = os.fstat(self._fd).st_size
        return self._lose(OSError("the disk is full"))

    def _lose(self, error: BaseException) -> bool:
        if not self.lost:
            log.error("The transcript %s is losing records: %s. Execution goes on.", self.directory, error)
        self.lost += 1
        return False

    def _take_lock(self) -> None:
        lock = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise ConflictError(f"Another process records into {self.directory}.") from None
        self._lock = lock

    def _drop_lock(self) -> None:
        os.close(self._lock)
        self._lock = -1


def sync(fd: int) -> None:
    """Make everything that was written durable; closes ``fd`` (from ``Journal.sync_job``)."""
    try:
        os.fsync(fd)
    except OSError as error:
        log.warning("A transcript could not be synced to disk: %s", error)
    finally:
        os.close(fd)


def is_being_written(directory: Path) -> bool:
    """Whether a writer holds the journal in ``directory``, in this process or another."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _set_torn_line_aside(path: Path, fd: int, size: int) -> int:
    """Move what follows the last newline to ``<segment>.torn``; returns its length."""
    with path.open("rb") as file:
        start = size
        while start:
            block_start = max(0, start - _TAIL_BLOCK)
            file.seek(block_start)
            newline = file.read(start - block_start).rfind(b"\n")
            start = block_start if newline < 0 else block_start + newline + 1
            if newline >= 0:
                break
        if start == size:
            return 0
        file.seek(start)
        tail = file.read()
    with path.with_name(path.name + TORN_SUFFIX).open("ab") as aside:
        aside.write(tail + b"\n")
    os.ftruncate(fd, start)
    return size - start
