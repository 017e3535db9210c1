"""One service per data directory: whoever holds its lock may say how the sandboxes in its book ended.

The lock is the kernel's (``flock``): it is free the moment its holder is gone, however that came about.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from ..errors import ConflictError

FILE_NAME = "lock"


class DataLock:
    """Holds a data directory. A context manager; ``release`` is idempotent."""

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self._path = path

    @classmethod
    def take(cls, data_dir: Path) -> Self:
        """Take the lock at once. Raises ConflictError that names the process that holds it."""
        path = data_dir / FILE_NAME
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(fd)
            raise ConflictError(
                f"Another podflare_nb service (process {holder}) uses the data directory {data_dir}. "
                "Stop it, or choose another directory (--data-dir)."
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        return cls(fd, path)

    def release(self) -> None:
        """Let go of it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<DataLock {self._path} {'held' if self._fd >= 0 else 'released'}>"
