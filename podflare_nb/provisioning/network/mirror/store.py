"""The shared cache on disk: files by their hash, bounded in bytes, the longest unused given up first.

The directory is open to mirrors alone and is the process's working directory: paths are relative, so that it may lie
where the mirror's user could not walk to. A file comes to be by a rename, once all of it is there and its hash is
right. One that was there before this process started is hashed again when it is first asked for: a machine that lost
power may have left the name without the bytes. Several mirrors may share a directory.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import re
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FILES, PARTIAL = "files", "partial"
STRONG = {"sha256": 64, "sha384": 96, "sha512": 128}
"""Hashes by which a file may be kept, with the length of their hex form. SHA-1 and MD5 can be made to collide."""
READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Digest:
    """A hash that an index names; ``hex`` in lower case."""

    algorithm: str
    hex: str

    def __post_init__(self) -> None:
        size = STRONG.get(self.algorithm, {"sha1": 40}.get(self.algorithm))
        if size is None or len(self.hex) != size or not re.fullmatch(r"[0-9a-f]+", self.hex):
            raise ValueError("is no hash that is known here")

    @property
    def strong(self) -> bool:
        """Whether a file may be kept under it."""
        return self.algorithm in STRONG

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.algorithm}-{self.hex}"


class StoreFullError(Exception):
    """A file is larger than all that may be kept."""


class Store:
    """``open`` what is there; ``create`` what is not."""

    def __init__(self, max_bytes: int) -> None:
        for name in (FILES, PARTIAL):
            Path(name).mkdir(mode=0o770, exist_ok=True)
        _sweep_partial()
        self._max_bytes = max_bytes
        self._bytes = 0
        self._numbers = itertools.count()
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._unproven: set[str] = set()
        found = sorted(os.scandir(FILES), key=lambda entry: entry.stat().st_mtime)
        for entry in found:
            self._sizes[entry.name] = entry.stat().st_size
            self._bytes += entry.stat().st_size
            self._unproven.add(entry.name)
        self.make_room(0)

    def open(self, digest: Digest) -> int | None:
        """A descriptor of that file, which is the caller's; None if it is not there."""
        name = digest.name
        try:
            fd = os.open(f"{FILES}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            self._forget(name)
            return None
        if name not in self._sizes:  # another mirror's
            self._sizes[name] = os.fstat(fd).st_size
            self._bytes += self._sizes[name]
            self._unproven.add(name)
        self._sizes.move_to_end(name)
        with suppress(OSError):
            os.utime(fd)
        return fd

    def is_proven(self, digest: Digest) -> bool:
        """Whether its hash was seen to be right since this process began; ``prove`` it otherwise."""
        return digest.name not in self._unproven

    def prove(self, digest: Digest, fd: int) -> bool:
        """Hash the file; one that is wrong is deleted. Takes a second for each GB: call it beside the loop."""
        computed, position = hashlib.new(digest.algorithm), 0
        while part := os.pread(fd, READ_BYTES, position):
            computed.update(part)
            position += len(part)
        if computed.hexdigest() == digest.hex:
            self._unproven.discard(digest.name)
            return True
        self._delete(digest.name)
        return False

    def create(self) -> Partial:
        """A file to be written."""
        return Partial(self, f"{PARTIAL}/{os.getpid()}-{next(self._numbers)}")

    def make_room(self, count: int) -> None:
        """Count so many more bytes, and give up files for them. Raises StoreFullError."""
        self._bytes += count
        while self._bytes > self._max_bytes:
            if not self._sizes:
                self._bytes -= count
                raise StoreFullError
            self._delete(next(iter(self._sizes)))

    def give_back(self, count: int) -> None:
        """So many bytes are no longer there."""
        self._bytes -= count

    def keep(self, path: str, digest: Digest, size: int) -> None:
        """Take over a finished file, whose bytes were counted by ``make_room``."""
        if digest.name in self._sizes:
            self._bytes -= self._sizes.pop(digest.name)
        Path(path).rename(f"{FILES}/{digest.name}")
        self._sizes[digest.name] = size
        self._unproven.discard(digest.name)

    def _delete(self, name: str) -> None:
        with suppress(FileNotFoundError):
            Path(FILES, name).unlink()
        self._forget(name)

    def _forget(self, name: str) -> None:
        self._bytes -= self._sizes.pop(name, 0)
        self._unproven.discard(name)


class Partial:
    """A file on its way: ``write`` its bytes, then ``keep`` or ``drop`` it. ``fd`` may be read all the time."""

    def __init__(self, store: Store, path: str) -> None:
        self._store = store
        self._path: str | None = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o660)
        fcntl.flock(self.fd, fcntl.LOCK_EX)
        self.size = 0

    def write(self, part: bytes) -> None:
        """Append. Raises StoreFullError, OSError."""
        self._store.make_room(len(part))
        self.size += len(part)
        view = memoryview(part)
        while view:
            view = view[os.write(self.fd, view) :]

    def keep(self, digest: Digest) -> None:
        """It is whole, and this is its hash."""
        assert self._path is not None  # noqa: S101 - kept or dropped once
        self._store.keep(self._path, digest, self.size)
        self._path, self.size = None, 0

    def drop(self) -> None:
        """Close it; what was not kept is gone. Its bytes count until then."""
        os.close(self.fd)
        if self._path is not None:
            Path(self._path).unlink(missing_ok=True)
            self._store.give_back(self.size)


def _sweep_partial() -> None:
    """Delete what mirrors left that were killed; a living one holds a lock on each of its own."""
    for entry in os.scandir(PARTIAL):
        with suppress(OSError):
            fd = os.open(entry.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                Path(entry.path).unlink()
            finally:
                os.close(fd)
