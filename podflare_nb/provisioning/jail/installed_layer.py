"""Makes of what system packages changed in a jail a layer for other jails: in place, on the jail's own disk.

Runs as the host's root in the mount namespace of a jail in which no process is left but its pid 1, on what packages'
scripts wrote: every name is taken relative to an open directory, and no link is followed. Ids become those that are
seen inside (another sandbox's root is another id of the host). What overlayfs notes of single files goes, as it is
about another overlay; what it notes of directories and its whiteouts stay: they say what the packages removed.
"""

from __future__ import annotations

import errno
import os
import stat

from .build import FIRST
from .frozen_layers import opened
from .plan import LAYERS, TREES, JailPlan

MAX_DEPTH = 200
PASSING = (
    ("tmp",), ("run",), ("workspace",), ("root",), ("var", "tmp"), ("var", "lib", "apt", "lists"),
    ("var", "cache", "apt"),
)  # fmt: skip
"""Below the root: nothing in these is what a package is made of."""
_OVERLAY = "trusted.overlay."
_OF_DIRECTORIES = {f"{_OVERLAY}opaque", f"{_OVERLAY}redirect"}
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHANGES_ID = stat.S_ISUID | stat.S_ISGID


def make(plan: JailPlan) -> list[str]:
    """Move each tree that the first branch wrote to into ``TREES``; their keys. Raises OSError."""
    made = f"{LAYERS}/{TREES}"
    os.mkdir(made)  # noqa: PTH102 - strings, as everywhere under ``jail``
    keys = []
    for tree in plan.trees:
        written = f"{LAYERS}/{FIRST}/{tree.key}"
        top = os.open(written, _DIRECTORY)
        try:
            for names in () if tree.path else PASSING:
                _forget(top, names)
            if os.listdir(top):  # noqa: PTH208 - a descriptor
                _settle(top, plan.owner, MAX_DEPTH)
                os.rename(written, f"{made}/{tree.key}")  # noqa: PTH104 - see above
                keys.append(tree.key)
        finally:
            os.close(top)
    return keys


def _forget(directory: int, names: tuple[str, ...]) -> None:
    """Empty the directory that these names lead to, if there is one."""
    try:
        with opened(names[0], _DIRECTORY, directory) as below:
            if names[1:]:
                _forget(below, names[1:])
            else:
                _empty(below)
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            raise


def _empty(directory: int) -> None:
    for name in os.listdir(directory):
        try:
            os.unlink(name, dir_fd=directory)
        except IsADirectoryError:
            with opened(name, _DIRECTORY, directory) as below:
                _empty(below)
            os.rmdir(name, dir_fd=directory)


def _settle(directory: int, owner: int, depth: int) -> None:
    """Give a directory and all that is in it to the ids that are seen inside."""
    if depth == 0:
        raise OSError(errno.ELOOP, "directories are nested too deep")
    for name in os.listdir(directory):
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            with opened(name, _DIRECTORY, directory) as below:
                _settle(below, owner, depth - 1)
        elif stat.S_ISREG(status.st_mode):
            with opened(name, _FILE, directory) as file:
                _drop_notes(file, keep=set())
                _give(file, owner, status)
        elif status.st_uid >= owner:  # a link; whiteouts are the host's already
            os.chown(name, status.st_uid - owner, status.st_gid - owner, dir_fd=directory, follow_symlinks=False)
    _drop_notes(directory, keep=_OF_DIRECTORIES)
    _give(directory, owner, os.fstat(directory))


def _give(descriptor: int, owner: int, status: os.stat_result) -> None:
    """To the id that it has inside, once: a file may have several names."""
    if status.st_uid >= owner:
        os.chown(descriptor, status.st_uid - owner, status.st_gid - owner)
        if status.st_mode & _CHANGES_ID:  # Linux takes these away with the owner
            os.chmod(descriptor, stat.S_IMODE(status.st_mode))


def _drop_notes(descriptor: int, keep: set[str]) -> None:
    for name in os.listxattr(descriptor):
        if name.startswith(_OVERLAY) and name not in keep:
            os.removexattr(descriptor, name)
