"""Paths of a workspace, resolved by the kernel strictly beneath its directory; and what their failures mean.

``openat2`` with RESOLVE_BENEATH is the boundary: ``..``, absolute paths and symlinks that lead out are refused in
the very resolution that opens, so there is nothing between a check and a use. The lexical step before it gives
better sentences, not safety. It does not stop a sandbox from reading its own files through its own links.
"""

import errno
import os
import posixpath

from ..errors import (
    ConflictError,
    ForbiddenError,
    InvalidArgumentError,
    NoCapacityError,
    NotFoundError,
    PodflareError,
    TooLargeError,
)
from ..provisioning.jail import syscalls

WORKSPACE = "/workspace"
"""Where the sandbox itself sees its workspace: an absolute path below it is taken as relative to it."""
_BENEATH = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_MAGICLINKS | syscalls.RESOLVE_NO_XDEV
_RETRIES = 100
MAX_PATH_BYTES, MAX_NAME_BYTES = 4000, 255


def normal(path: str) -> str:
    """The path relative to the workspace, in its shortest form; ``.`` is the workspace.

    Raises InvalidArgumentError for what is no path, ForbiddenError for what leads out.
    """
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError:
        raise InvalidArgumentError("The path has characters that no file name can have.") from None
    longest = max(map(len, encoded.split(b"/")))
    if b"\0" in encoded or len(encoded) > MAX_PATH_BYTES or longest > MAX_NAME_BYTES:
        raise InvalidArgumentError(
            f"A path has no NUL byte, {MAX_PATH_BYTES} bytes at most, and {MAX_NAME_BYTES} in each of its names."
        )
    if path.startswith("/"):
        inside = posixpath.normpath("/" + path.lstrip("/"))
        if inside != WORKSPACE and not inside.startswith(WORKSPACE + "/"):
            raise ForbiddenError(
                f"{path!r} is outside the workspace. Only files below {WORKSPACE} can be reached; "
                "give the path relative to it."
            )
        path = inside[len(WORKSPACE) + 1 :]
    short = posixpath.normpath(path) if path else "."
    if short == ".." or short.startswith("../"):
        raise ForbiddenError(f"{path!r} leads out of the workspace. Give a path inside it.")
    return short


def open_beneath(root: int, path: str, flags: int) -> int:
    """Open an existing ``path`` below the directory ``root``. Raises OSError; EXDEV is a path that leads out."""
    for _ in range(_RETRIES):
        try:
            return syscalls.openat2(path, flags, resolve=_BENEATH, dir_fd=root)
        except OSError as error:
            # A rename somewhere on the way, at the same moment: resolve again.
            if error.errno != errno.EAGAIN:
                raise
    raise OSError(errno.EBUSY, "the directories on the way are being renamed")


def open_parent(root: int, path: str, owner: tuple[int, int] | None) -> int:
    """Open the directory that holds ``path``; with an ``owner`` it is made if need be, and given to that owner."""
    parent = posixpath.dirname(path) or "."
    try:
        return open_beneath(root, parent, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        if owner is None:
            raise
    return make_directories(root, parent, owner)


def make_directories(root: int, path: str, owner: tuple[int, int]) -> int:
    """Make what is missing of a directory's path, owned by ``owner``, and open it."""
    current = open_beneath(root, ".", os.O_RDONLY | os.O_DIRECTORY)
    parts = path.split("/")
    for count, name in enumerate(parts, 1):
        try:
            below = _enter(root, current, "/".join(parts[:count]), name, owner)
        finally:
            os.close(current)
        current = below
    return current


def _enter(root: int, current: int, path: str, name: str, owner: tuple[int, int]) -> int:
    try:
        # From the root, not from where we are: a link on the way may point anywhere in the workspace.
        return open_beneath(root, path, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        pass
    try:
        os.mkdir(name, 0o755, dir_fd=current)
    except FileExistsError:
        return open_beneath(root, path, os.O_RDONLY | os.O_DIRECTORY)
    made = open_beneath(current, name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        os.fchown(made, *owner)
    except OSError:
        os.close(made)
        raise
    return made


_REFUSALS: dict[int, tuple[type[PodflareError], str]] = {
    errno.ENOENT: (NotFoundError, "There is no {path!r} in the workspace."),
    errno.ESTALE: (NotFoundError, "There is no {path!r} in the workspace."),
    errno.EXDEV: (ForbiddenError, "{path!r} leads out of the workspace. Give a path inside it."),
    errno.ELOOP: (ForbiddenError, "{path!r} runs through links that cannot be followed."),
    errno.ENOTDIR: (ConflictError, "A part of {path!r} is a file where a directory is needed."),
    errno.EISDIR: (ConflictError, "{path!r} is a directory."),
    errno.ENOTEMPTY: (
        ConflictError,
        "{path!r} is a directory that is not empty. Pass recursive=true to delete all of it.",
    ),
    errno.EEXIST: (ConflictError, "{path!r} is there already."),
    errno.ENAMETOOLONG: (InvalidArgumentError, "A name in {path!r} is too long."),
    errno.ENOSPC: (TooLargeError, "The sandbox's disk is full. Delete files, or ask for a larger rootfs_gb."),
    errno.EDQUOT: (TooLargeError, "The sandbox's disk is full. Delete files, or ask for a larger rootfs_gb."),
    errno.EACCES: (ForbiddenError, "{path!r} may not be opened."),
    errno.EPERM: (ForbiddenError, "{path!r} may not be opened."),
    errno.EROFS: (ForbiddenError, "{path!r} is on a read-only file system."),
    errno.ENXIO: (ForbiddenError, "{path!r} is a pipe or a device; only files are read."),
    errno.EBADF: (
        ConflictError,
        "The sandbox is ending, or its kernel is being replaced. Try again; the answer then tells which.",
    ),
    errno.EBUSY: (ConflictError, "{path!r} is in use now. Try again."),
    errno.ETXTBSY: (ConflictError, "{path!r} is in use now. Try again."),
}


def refusal(error: OSError, path: str) -> PodflareError:
    """The sentence for what the file system said about ``path``."""
    number = error.errno or 0
    if number in _REFUSALS:
        kind, sentence = _REFUSALS[number]
        return kind(sentence.format(path=path))
    return NoCapacityError(f"{path!r} could not be used: {os.strerror(number)}.")
