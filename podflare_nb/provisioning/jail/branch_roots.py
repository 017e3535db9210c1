"""Composes the roots of branches, inside a jail's mount namespace: a stack of layers in, a directory descriptor out.

A branch's root is one overlay for the skeleton and one for each source (overlayfs does not look below the mounts of
its lower layer), each writing to a layer of its own on the sandbox's disk, with clones of the jail's /proc and /dev and
a /dev/shm of its own. At a fork the layers that were written to are frozen: nobody writes to them again, and every new
root has them below a fresh one. So the number and the size of files cost nothing.

Runs as the host's root on trees that a hostile tenant wrote: names are the host's own choice, and what is below a
branch's root is resolved without links. Stands on ``mounts``; ``branching`` above it does a whole fork.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from . import syscalls as sc
from .mounts import DEV, PROC
from .plan import BRANCH_ROOT, LAYERS, JailPlan, Stack, Tree

OPTIONS = "redirect_dir=on,metacopy=off,index=off,volatile"
"""Directories of frozen layers can be renamed; nothing on this disk is to outlive the machine."""
MAX_OPTION_BYTES = 4000
"""mount(2) takes a page."""
SHM = "dev/shm"
_BENEATH = sc.RESOLVE_BENEATH | sc.RESOLVE_NO_SYMLINKS | sc.RESOLVE_NO_MAGICLINKS
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class Origin:
    """The root that a new one follows on: what is the same in both is taken from there.

    ``keeps``: trees whose very overlay is shared, as the older root is given up; ``keeps_shm``: so is its /dev/shm.
    """

    branch: str
    keeps: frozenset[str] = frozenset()
    keeps_shm: bool = False


def blank_trees(plan: JailPlan, stack: Stack) -> set[str]:
    """The trees to which nothing was written since the last fork."""
    blank = set()
    for tree in plan.trees:
        with os.scandir(f"{LAYERS}/{stack.upper[tree.key]}/{tree.key}") as entries:
            if next(entries, None) is None:
                blank.add(tree.key)
    return blank


def compose(plan: JailPlan, branch: str, stack: Stack, origin: Origin | None = None) -> int:
    """Make the root of ``branch`` and open it (O_PATH). Raises OSError; what was mounted by then is undone."""
    root = f"{BRANCH_ROOT}/{branch}"
    os.mkdir(root)  # noqa: PTH102 - strings are the hot path here, as in ``mounts``
    try:
        return _compose(plan, branch, stack, origin)
    except BaseException:
        remove_root(branch)
        raise


def _compose(plan: JailPlan, branch: str, stack: Stack, origin: Origin | None) -> int:
    kept = origin.keeps if origin else frozenset()
    with opened(f"{BRANCH_ROOT}/{origin.branch}" if origin else "/") as older:
        place = os.open(f"{BRANCH_ROOT}/{branch}", _DIRECTORY | os.O_CLOEXEC)
        root = -1
        try:
            for tree in plan.trees:
                target = _below(root, tree.path) if tree.path else place
                try:
                    if tree.key in kept:
                        _share(older, tree.path, target)
                    else:
                        _mount_overlay(tree, stack, target)
                finally:
                    os.close(target)
                if not tree.path:
                    root = os.open(f"{BRANCH_ROOT}/{branch}", _DIRECTORY | os.O_CLOEXEC)
            _mount_system(plan, root, older if origin and origin.keeps_shm else None)
        except BaseException:
            if root >= 0:
                os.close(root)
            raise
        return root


def remove_root(branch: str) -> None:
    """Unmount a branch's root, though its processes may still be on their way out. Idempotent."""
    remove_mount(f"{BRANCH_ROOT}/{branch}")


def remove_mount(place: str) -> None:
    """Unmount what is mounted at a directory of the jail's own, with all below it, and remove that. Idempotent."""
    with suppress(OSError):  # EINVAL: nothing is mounted there, or no more
        sc.umount2(place, sc.MNT_DETACH | sc.UMOUNT_NOFOLLOW)
    with suppress(FileNotFoundError):
        os.rmdir(place)  # noqa: PTH106 - see compose


def make_layer(plan: JailPlan, layer: str, like: Mapping[str, str], keys: frozenset[str]) -> None:
    """An empty layer for these trees, each with the owner and the mode that the top of ``like`` shows.

    ``like``: the layer above which each tree's is to stand; a tree without one shows its base.
    """
    directory = f"{LAYERS}/{layer}"
    os.mkdir(directory)  # noqa: PTH102 - see compose
    for tree in plan.trees:
        if tree.key in keys:
            below = f"{LAYERS}/{like[tree.key]}/{tree.key}" if tree.key in like else tree.lower[0]
            mode = os.stat(below, follow_symlinks=False).st_mode & 0o7777  # noqa: PTH116 - see compose
            upper = f"{directory}/{tree.key}"
            os.mkdir(f"{directory}/w{tree.key}")  # noqa: PTH102 - see compose
            os.mkdir(upper)  # noqa: PTH102 - see compose
            os.chown(upper, plan.owner, plan.owner)
            os.chmod(upper, mode)  # noqa: PTH101 - see compose


def _mount_overlay(tree: Tree, stack: Stack, target: int) -> None:
    upper = stack.upper[tree.key]
    lower = [f"{LAYERS}/{layer}/{tree.key}" for layer in stack.below.get(tree.key, ())]
    options = (
        f"lowerdir={':'.join([*lower, *tree.lower])},upperdir={LAYERS}/{upper}/{tree.key},"
        f"workdir={LAYERS}/{upper}/w{tree.key},{OPTIONS}"
    )
    if len(options) > MAX_OPTION_BYTES:
        raise OSError(errno.E2BIG, f"{len(lower)} frozen layers stand one upon the other")
    os.fchdir(target)  # where it is to be mounted, whatever anybody's links say
    try:
        sc.mount("overlay", ".", "overlay", sc.MS_NODEV, options)
    finally:
        os.chdir("/")


def _mount_system(plan: JailPlan, root: int, shm_of: int | None) -> None:
    """/proc and /dev as the jail has them, and a /dev/shm: an empty one, or the very one of another root."""
    for source, name in ((PROC, "proc"), (DEV, "dev")):
        _attach(sc.open_tree(source, sc.OPEN_TREE_CLONE | sc.AT_RECURSIVE | sc.OPEN_TREE_CLOEXEC), root, name)
    target = _below(root, SHM)
    try:
        if shm_of is not None:
            _share(shm_of, SHM, target)
        else:
            os.fchdir(target)
            mount_shm(plan, ".")
    finally:
        os.chdir("/")
        os.close(target)


def mount_shm(plan: JailPlan, place: str) -> None:
    """Mount an empty /dev/shm."""
    sc.mount("tmpfs", place, "tmpfs", sc.MS_NOSUID | sc.MS_NODEV,
             f"mode=1777,size={plan.shm_mib}m,uid={plan.owner},gid={plan.owner}")  # fmt: skip


def _attach(tree: int, root: int, name: str) -> None:
    target = _below(root, name)
    try:
        sc.move_mount(tree, "", dir_fd=target, flags=sc.MOVE_MOUNT_F_EMPTY_PATH | sc.MOVE_MOUNT_T_EMPTY_PATH)
    finally:
        os.close(target)
        os.close(tree)


def _share(older: int, path: str, target: int) -> None:
    """Mount at ``target`` what is mounted at ``path`` of an older root."""
    source = _below(older, path) if path else os.dup(older)
    try:
        tree = sc.open_tree("", sc.OPEN_TREE_CLONE | sc.OPEN_TREE_CLOEXEC | sc.AT_EMPTY_PATH, dir_fd=source)
    finally:
        os.close(source)
    try:
        sc.move_mount(tree, "", dir_fd=target, flags=sc.MOVE_MOUNT_F_EMPTY_PATH | sc.MOVE_MOUNT_T_EMPTY_PATH)
    finally:
        os.close(tree)


def _below(root: int, path: str) -> int:
    """Open a directory of a branch's root. Its user may have moved those above it: then the root cannot be composed."""
    try:
        return sc.openat2(path.lstrip("/"), _DIRECTORY, resolve=_BENEATH, dir_fd=root)
    except OSError as error:
        raise OSError(error.errno, f"the directory /{path.lstrip('/')} is not where it was") from error


@contextmanager
def opened(path: str) -> Iterator[int]:
    """A directory of the jail's own, open (O_PATH) for a while."""
    descriptor = os.open(path, _DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
