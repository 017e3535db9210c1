"""User namespaces made ahead for sandboxes, and the host ids that they map.

Every sandbox's root and users are host ids that nothing else on the host uses: a slot of 65536, of which the last is
kept unmapped for the jail's init. A supervisor claims a block of slots by a lock that vanishes with it, so that two
supervisors never hand out the same ids. Slots come back last in line: an id is reused as late as can be.
"""

from __future__ import annotations

import fcntl
import os
from collections import deque
from contextlib import suppress
from pathlib import Path

from . import syscalls

SLOT_IDS = 65536
SLOTS_PER_BLOCK = 2048
FIRST_ID = 1_000_000_000
BLOCKS = 16


class IdSlots:
    """The block of id slots of this supervisor. ``directory`` holds the locks and is shared by all supervisors."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock, block = self._claim(directory)
        self._path = directory / f"ids-{block}"
        first = FIRST_ID + block * SLOTS_PER_BLOCK * SLOT_IDS
        self._free = deque(first + slot * SLOT_IDS for slot in range(SLOTS_PER_BLOCK))

    @staticmethod
    def _claim(directory: Path) -> tuple[int, int]:
        for block in range(BLOCKS):
            fd = _open_lock(directory, f"ids-{block}")
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(fd).st_ino == (directory / f"ids-{block}").stat().st_ino:
                    return fd, block
            except (BlockingIOError, FileNotFoundError):
                pass  # taken, or just being given up by ``close``
            os.close(fd)
        raise OSError(f"more than {BLOCKS} supervisors run on this machine")

    def take(self) -> int:
        """The first host id of a free slot. Raises IndexError when all are taken."""
        return self._free.popleft()

    def give_back(self, first: int) -> None:
        """The slot is free again."""
        self._free.append(first)

    def close(self) -> None:
        """Give up the block, and the directory with the last one."""
        self._path.unlink(missing_ok=True)
        os.close(self._lock)
        with suppress(OSError):
            self._directory.rmdir()


def _open_lock(directory: Path, name: str) -> int:
    while True:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(FileNotFoundError):  # the last supervisor before us takes the directory away just now
            return os.open(directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def create(owner: int) -> int:
    """A descriptor of a new user namespace that maps 0.. to ``owner``.. , all but the last id of the slot.

    The namespace is born in a short-lived child of ours, because unshare moves its caller; who makes it owns it, and
    has all capabilities over it (user_namespaces(7)).
    """
    ready_read, ready_write = os.pipe()
    done_read, done_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(ready_read)
            os.close(done_write)
            syscalls.unshare(syscalls.CLONE_NEWUSER)
            os.write(ready_write, b"x")
            os.read(done_read, 1)
        finally:
            os._exit(0)
    try:
        os.close(ready_write)
        os.close(done_read)
        if os.read(ready_read, 1) != b"x":
            raise OSError("a user namespace could not be made")
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{pid}/{name}", "w") as file:  # noqa: PTH123 - a hot path, and a proc file
                file.write(f"0 {owner} {SLOT_IDS - 1}\n")
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(ready_read)
        os.close(done_write)
        os.waitpid(pid, 0)
