"""The journal: an append-only file of records, one JSON object a line, which is the truth of a transcript.

One record is one ``os.write`` to a file opened with O_APPEND, made before any client is told of what it
records. There is no fsync per record: a server that is killed (kill -9) loses nothing, because the page cache
outlives the process; a machine that loses power may lose the last seconds. ``sync`` makes everything durable;
the transcript calls it in a worker thread when a turn ends and when the sandbox closes.

Recording never stops an execution. When the disk is full the record is dropped, the file is cut back to its
last whole line, the loss is logged, and the next record that fits is preceded by one that tells how many
were lost. A lock on the file keeps it to one writer. Stands on nothing; ``transcript`` writes, ``projection``
reads.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import ConflictError

log = logging.getLogger(__name__)

TORN_SUFFIX = ".torn"
_TAIL_BLOCK = 65_536

_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode


class Journal:
    """The writer's end. ``lost`` counts the records that could not be written and are not told of yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lost = 0
        self._fd = -1
        self._size = 0
        self._prefix = b""

    def __repr__(self) -> str:
        return f"<Journal {self.path} {'open' if self._fd >= 0 else 'at rest'}, {self.lost} lost>"

    def open(self) -> int:
        """Open for writing and take the lock; returns how many bytes of a torn last line were set aside.

        Idempotent. Raises OSError, and ConflictError when another process writes here.
        """
        if self._fd >= 0:
            return 0
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            size = os.fstat(fd).st_size
            torn = _set_torn_line_aside(self.path, fd, size) if size else 0
        except BlockingIOError:
            os.close(fd)
            raise ConflictError(f"Another process records into {self.path}.") from None
        except BaseException:
            os.close(fd)
            raise
        self._fd, self._size = fd, size - torn
        return torn

    def append(self, record: Mapping[str, Any]) -> bool:
        """Write one record; False when it was lost (disk full, or nothing that JSON can hold)."""
        try:
            line = _encode(record).encode("ascii")
        except (ValueError, RecursionError) as error:
            return self._lose(error)
        if self.lost or self._prefix:
            line = self._prefix + _encode({"t": "lost", "records": self.lost}).encode("ascii") + b"\n" + line
        try:
            self.open()
            written = os.write(self._fd, line + b"\n")
        except (OSError, ConflictError) as error:
            return self._lose(error)
        if written <= len(line):
            return self._cut_back()
        self._size += written
        self.lost, self._prefix = 0, b""
        return True

    def sync_job(self) -> int | None:
        """Give a descriptor for ``sync`` in a thread: its own, so that ``release`` cannot pull it away."""
        return None if self._fd < 0 else os.dup(self._fd)

    def release(self) -> None:
        """Close the file and give up the lock; the next append opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

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
            log.error("The transcript %s is losing records: %s. Execution goes on.", self.path, error)
        self.lost += 1
        return False


def sync(fd: int) -> None:
    """Make everything that was written durable; closes ``fd`` (from ``Journal.sync_job``)."""
    try:
        os.fsync(fd)
    except OSError as error:
        log.warning("A transcript could not be synced to disk: %s", error)
    finally:
        os.close(fd)


def is_being_written(path: Path) -> bool:
    """Whether a writer holds the journal, in this process or another."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def read_records(path: Path, offset: int = 0) -> Iterator[tuple[dict[str, Any] | None, int]]:
    """Yield each whole record from ``offset`` on with the offset after it; None for a line that is damaged.

    A last line without its newline is not yielded: it is torn, or still being written.
    """
    with path.open("rb") as file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            if line != b"\n":
                yield parse(line), offset


def parse(line: bytes) -> dict[str, Any] | None:
    """Parse one line; None if it is not a record."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("t"), str) else None


def _set_torn_line_aside(path: Path, fd: int, size: int) -> int:
    """Move what follows the last newline to ``<journal>.torn``; returns its length."""
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
