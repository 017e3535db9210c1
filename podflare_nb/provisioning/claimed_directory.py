"""Directories that belong to one process for as long as it lives, whatever ends it: their lock vanishes with it.

The lock is on the directory itself, and it is there before the directory has its name: so whoever finds one under its
name and can lock it, knows that its owner is gone.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

UNNAMED = ".new-"


class ClaimedDirectory:
    """A directory of ours. ``remove`` it; if we do not, another process's ``sweep`` does."""

    def __init__(self, base: Path, name: str) -> None:
        """Raises OSError."""
        self.path = base / name
        while True:
            unnamed = base / f"{UNNAMED}{name}"
            unnamed.mkdir(mode=0o700)
            lock = lock_now(unnamed)
            if lock is None:
                continue  # a sweep took it in the moment before it was locked
            self._lock = lock
            unnamed.rename(self.path)
            return

    def __repr__(self) -> str:
        return f"<ClaimedDirectory {self.path}>"

    def remove(self) -> None:
        """Remove it with all that is in it. Idempotent."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def sweep(base: Path, prefix: str) -> None:
    """Remove what processes left that were killed. ``prefix``: what the names of such directories begin with."""
    for pattern in (f"{prefix}*", f"{UNNAMED}{prefix}*"):
        for path in base.glob(pattern):
            lock = lock_now(path)
            if lock is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(lock)


def lock_now(path: Path, how: int = fcntl.LOCK_EX) -> int | None:
    """Lock a directory, or share it (LOCK_SH, flock(2)): a descriptor; None if somebody else has it, or it is gone."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
        if path.stat().st_ino == os.fstat(lock).st_ino:
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(lock)
    return None
