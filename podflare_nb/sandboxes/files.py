"""The files of a sandbox's workspace, from outside: list, read, write, delete, never beyond it.

Every call takes the workspace's directory from the kernel the sandbox has at that moment (a new kernel brings a new
descriptor) and works from descriptors only. What is written belongs to the sandbox's root. Named pipes, sockets and
devices are never read. Paths and refusals: ``workspace_paths``; the streams: ``file_streams``.
"""

import asyncio
import errno
import os
import posixpath
import secrets
import stat
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ..errors import ConflictError, ForbiddenError, InvalidArgumentError, TooLargeError
from ..provisioning.handle import KernelHandle
from .file_streams import Begun, FileEntry, FileReader, Upload, UploadPlace, entry
from .workspace_paths import make_directories, normal, open_beneath, open_parent, refusal

MAX_ENTRIES = 50_000
MAX_DEPTH = 128
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_T = TypeVar("_T")


async def _at_once() -> None:
    pass


class WorkspaceFiles:
    """The workspace of one sandbox. Paths are relative to it, or absolute below /workspace.

    All raise InvalidArgumentError, ForbiddenError, NotFoundError, ConflictError or TooLargeError with a sentence.
    """

    def __init__(self, handle: Callable[[], KernelHandle], settled: Callable[[], Awaitable[None]] = _at_once) -> None:
        """``settled`` waits until the state that is being kept of an earlier turn has been: what is written from
        outside after a turn is not part of it."""
        self._handle = handle
        self.settled = settled

    def __repr__(self) -> str:
        return f"<WorkspaceFiles of {self._handle().kernel_id}>"

    async def stat(self, path: str) -> FileEntry:
        """What ``path`` is; a link inside the workspace is followed."""
        short = normal(path)
        return await self._with_root(path, lambda root: _stat(root, short))

    async def entries(self, path: str = ".") -> list[FileEntry]:
        """What a directory holds, by name; links are told as links."""
        short = normal(path)
        return await self._with_root(path, lambda root: _entries(root, short, path))

    async def open(self, path: str) -> FileReader:
        """Open a file for reading."""
        short = normal(path)
        return await self._with_root(path, lambda root: _open(root, short, path))

    async def read_head(self, path: str, max_bytes: int) -> tuple[bytes, int]:
        """The first bytes of a file, and its size."""
        async with await self.open(path) as reader:
            data = b"".join([chunk async for chunk in reader.chunks(range(min(max_bytes, reader.entry.size)))])
            return data, reader.entry.size

    async def upload(self, path: str) -> Upload:
        """Begin a file; parents are made. Nothing is seen under its name before ``commit``."""
        await self.settled()
        place = _Place(self, path, _not_the_root(path))
        return Upload(place, await place.begin())

    async def begin(self, path: str) -> Begun:
        """Begin a file under a temporary name."""
        short = _not_the_root(path)
        owner = self._handle().owner_ids
        return await self._with_root(path, lambda root: _begin(root, short, owner))

    def moved(self, workspace: tuple[int, int]) -> bool:
        """Whether the workspace is another one than this, as after a merge; False also while there is none."""
        try:
            return _identity(self._handle().workspace_fd) != workspace
        except OSError:
            return False  # between two kernels: the files stay

    async def mkdir(self, path: str) -> None:
        """Make a directory and its parents; one that exists is fine."""
        short = _not_the_root(path)
        await self.settled()
        owner = self._handle().owner_ids
        await self._with_root(path, lambda root: os.close(make_directories(root, short, owner)))

    async def delete(self, path: str, *, recursive: bool = False) -> None:
        """Delete a file, a link itself, or a directory; one that is not empty only if ``recursive``."""
        short = _not_the_root(path)
        await self.settled()
        await self._with_root(path, lambda root: _delete(root, short, recursive=recursive))

    async def _with_root(self, path: str, call: Callable[[int], _T]) -> _T:
        try:
            # Copied here and now, on the event loop: in a thread the number might be another file's already.
            root = os.dup(self._handle().workspace_fd)
        except OSError as error:
            raise refusal(error, path) from error

        def run() -> _T:
            try:
                return call(root)
            finally:
                os.close(root)

        try:
            return await asyncio.to_thread(run)
        except OSError as error:
            raise refusal(error, path) from error


class _Place(UploadPlace):
    """A path of a workspace, for an upload."""

    def __init__(self, files: WorkspaceFiles, path: str, short: str) -> None:
        self.name = posixpath.basename(short)
        self._files, self._path = files, path

    async def begin(self) -> Begun:
        return await self._files.begin(self._path)

    def moved(self, workspace: tuple[int, int]) -> bool:
        return self._files.moved(workspace)

    async def settled(self) -> None:
        await self._files.settled()


def _not_the_root(path: str) -> str:
    short = normal(path)
    if short == ".":
        raise InvalidArgumentError("This is the workspace itself. Name a file or a directory in it.")
    return short


def _stat(root: int, path: str) -> FileEntry:
    found = open_beneath(root, path, os.O_PATH)
    try:
        return entry(posixpath.basename(path), os.fstat(found))
    finally:
        os.close(found)


def _entries(root: int, path: str, asked: str) -> list[FileEntry]:
    directory = open_beneath(root, path, os.O_RDONLY | os.O_DIRECTORY)
    found: list[FileEntry] = []
    try:
        with os.scandir(directory) as listing:
            for item in listing:
                if len(found) == MAX_ENTRIES:
                    raise TooLargeError(f"{asked!r} holds more than {MAX_ENTRIES} files. List it from code.")
                try:
                    found.append(entry(_shown(item.name), item.stat(follow_symlinks=False)))
                except FileNotFoundError:
                    continue  # deleted since
    finally:
        os.close(directory)
    return sorted(found, key=lambda file: file.name)


def _shown(name: str) -> str:
    r"""A name as a text; bytes of it that are no UTF-8, which no JSON can carry, as ``\xff``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _open(root: int, path: str, asked: str) -> FileReader:
    descriptor = open_beneath(root, path, _READ)
    found = entry(posixpath.basename(path), os.fstat(descriptor))
    if found.type == "file":
        return FileReader(descriptor, found)
    os.close(descriptor)
    if found.type == "directory":
        raise IsADirectoryError(errno.EISDIR, "is a directory")
    raise ForbiddenError(f"{asked!r} is a pipe, a socket or a device; only files are read.")


def _identity(root: int) -> tuple[int, int]:
    status = os.fstat(root)
    return status.st_dev, status.st_ino


def _begin(root: int, path: str, owner: tuple[int, int]) -> Begun:
    directory = open_parent(root, path, owner)
    temporary = f".upload-{secrets.token_hex(8)}.part"
    try:
        descriptor = os.open(temporary, _CREATE, 0o644, dir_fd=directory)
    except BaseException:
        os.close(directory)
        raise
    try:
        os.fchown(descriptor, *owner)
        os.fchmod(descriptor, 0o644)
    except BaseException:
        os.close(descriptor)
        os.unlink(temporary, dir_fd=directory)
        os.close(directory)
        raise
    return Begun(_identity(root), directory, temporary, descriptor)


def _delete(root: int, path: str, *, recursive: bool) -> None:
    parent = open_parent(root, path, None)
    name = posixpath.basename(path)
    try:
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=parent)
        else:
            if recursive:
                _empty(parent, name, depth=0)
            os.rmdir(name, dir_fd=parent)
    finally:
        os.close(parent)


def _empty(parent: int, name: str, *, depth: int) -> None:
    """Delete everything in a directory, by descriptors: a directory that becomes a link meanwhile is not followed."""
    if depth == MAX_DEPTH:
        raise ConflictError(f"The directories are nested more than {MAX_DEPTH} deep. Delete them from code.")
    directory = open_beneath(parent, name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        with os.scandir(directory) as listing:
            items = [(item.name, item.is_dir(follow_symlinks=False)) for item in listing]
        for item, is_directory in items:
            if is_directory:
                _empty(directory, item, depth=depth + 1)
                os.rmdir(item, dir_fd=directory)
            else:
                os.unlink(item, dir_fd=directory)
    finally:
        os.close(directory)
