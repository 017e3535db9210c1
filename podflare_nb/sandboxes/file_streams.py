"""Files of a workspace as streams: read in pieces, written whole or not at all. Memory stays flat at any size.

The system calls are made in threads, one at a time for each file; a caller that goes away in the middle of one does
not close the descriptor under it. ``files`` opens these; handlers and chat use them.
"""

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TypeVar

from ..errors import ConflictError
from .workspace_paths import refusal

CHUNK_BYTES = 1 << 20
FileType = Literal["file", "directory", "symlink", "other"]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file, without its content. ``size`` in bytes; ``etag`` changes with the content."""

    name: str
    type: FileType
    size: int
    modified: datetime
    etag: str


def entry(name: str, status: os.stat_result) -> FileEntry:
    """Make an entry of a name and what ``fstat`` says."""
    kind: FileType = "other"
    if stat.S_ISREG(status.st_mode):
        kind = "file"
    elif stat.S_ISDIR(status.st_mode):
        kind = "directory"
    elif stat.S_ISLNK(status.st_mode):
        kind = "symlink"
    modified = datetime.fromtimestamp(status.st_mtime_ns // 10**9 if abs(status.st_mtime) < 10**11 else 0, UTC)
    return FileEntry(
        name, kind, status.st_size, modified, f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"
    )


class _Descriptor:
    """A descriptor that is used in threads, one call at a time, and closed when none is under way."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._call: asyncio.Future[Any] | None = None

    async def run(self, call: Callable[[], _T]) -> _T:
        loop = asyncio.get_running_loop()
        self._call = future = loop.run_in_executor(None, call)
        return await asyncio.shield(future)

    async def settle(self) -> None:
        """Wait for a call whose caller went away."""
        if self._call is not None:
            await asyncio.wait([self._call])
            if not self._call.cancelled():
                self._call.exception()  # its caller is gone; what it said no longer matters

    async def close(self) -> None:
        await self.settle()
        number, self.number = self.number, -1
        if number >= 0:
            os.close(number)


class FileReader:
    """An open file. ``entry`` is as it was when it was opened; ``chunks`` gives exactly as many bytes as asked for."""

    def __init__(self, descriptor: int, found: FileEntry) -> None:
        self.entry = found
        self._file = _Descriptor(descriptor)

    def __repr__(self) -> str:
        return f"<FileReader {self.entry.name} {'closed' if self._file.number < 0 else 'open'}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def chunks(self, part: range | None = None) -> AsyncIterator[bytes]:
        """The content in pieces, those bytes of it only if given. Raises ConflictError if it became shorter."""
        position, end = (0, self.entry.size) if part is None else (part.start, part.stop)
        while position < end:
            wanted = min(end - position, CHUNK_BYTES)
            try:
                data = await self._file.run(partial(os.pread, self._file.number, wanted, position))
            except OSError as error:
                raise refusal(error, self.entry.name) from error
            if not data:
                raise ConflictError(f"{self.entry.name!r} became shorter while it was read. Read it again.")
            position += len(data)
            yield data

    async def aclose(self) -> None:
        """Close; idempotent."""
        await self._file.close()


@dataclass(frozen=True, slots=True)
class Begun:
    """A file under its temporary name. ``workspace``: device and inode of the workspace that it was begun in."""

    workspace: tuple[int, int]
    directory: int
    temporary: str
    descriptor: int


class UploadPlace(Protocol):
    """Where a file is to be: below a workspace that a merge or a rewind replaces by another one meanwhile."""

    name: str

    async def begin(self) -> Begun:
        """Begin the file in the workspace as it is now."""

    def moved(self, workspace: tuple[int, int]) -> bool:
        """Whether it is another workspace by now; False also while there is none."""

    async def settled(self) -> None:
        """Wait until nobody takes down what the workspace holds."""


class Upload:
    """A file that is being written under a temporary name. ``commit`` puts it in its place; else it vanishes."""

    def __init__(self, place: UploadPlace, begun: Begun) -> None:
        self.size = 0
        self._place = place
        self._take(begun)
        self._committed = False

    def _take(self, begun: Begun) -> None:
        self._workspace, self._temporary = begun.workspace, begun.temporary
        self._directory, self._file = _Descriptor(begun.directory), _Descriptor(begun.descriptor)

    def __repr__(self) -> str:
        state = "committed" if self._committed else "closed" if self._file.number < 0 else "open"
        return f"<Upload {self._place.name} {self.size} bytes {state}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def write(self, data: bytes) -> None:
        """Append. Raises TooLargeError when the sandbox's disk is full."""
        try:
            await self._file.run(lambda: _write_all(self._file.number, data))
        except OSError as error:
            raise refusal(error, self._place.name) from error
        self.size += len(data)

    async def commit(self) -> FileEntry:
        """Put the file in its place, at once and whole: in the workspace that is the sandbox's when this returns.

        Raises ConflictError if a directory is there, TooLargeError if another workspace has no room for it.
        """
        await self._place.settled()
        try:
            while True:
                if self._place.moved(self._workspace):
                    await self._follow()
                status = await self._directory.run(self._rename)
                self._committed = True
                if not self._place.moved(self._workspace):
                    return entry(self._place.name, status)
        except OSError as error:
            raise refusal(error, self._place.name) from error

    async def _follow(self) -> None:
        """Begin again where the workspace is now, with what was written. Nothing stays where it was before."""
        begun = await self._place.begin()
        source, written = self._file, _Descriptor(begun.descriptor)
        try:
            await written.run(lambda: _copy(source.number, begun.descriptor))
        except BaseException:
            os.unlink(begun.temporary, dir_fd=begun.directory)
            await written.close()
            os.close(begun.directory)
            raise
        await self.aclose()
        self._take(begun)
        self._committed = False

    async def aclose(self) -> None:
        """Close, and remove what was not committed; idempotent."""
        await self._file.close()
        await self._directory.settle()
        if self._directory.number >= 0 and not self._committed:
            with suppress(FileNotFoundError):  # committed after all, by a caller that went away; or removed inside
                os.unlink(self._temporary, dir_fd=self._directory.number)
        await self._directory.close()

    def _rename(self) -> os.stat_result:
        directory = self._directory.number
        os.rename(self._temporary, self._place.name, src_dir_fd=directory, dst_dir_fd=directory)
        return os.fstat(self._file.number)


def _copy(source: int, target: int) -> None:
    position = 0
    while data := os.pread(source, CHUNK_BYTES, position):
        _write_all(target, data)
        position += len(data)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
