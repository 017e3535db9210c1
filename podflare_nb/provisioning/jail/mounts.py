"""Composes what a sandbox sees as its file system, in a mount namespace of its own that belongs to the host.

Inside the jail's root (a small tmpfs) stand ``/.host`` (read-only sources, the sandbox's disk, device nodes: only
the composing needs them) and ``/b/<branch>``, one complete root for each branch. A branch's root is one overlay for
the skeleton and one for each source (overlayfs does not look below the mounts of its lower layer), all writing to the
disk of the sandbox. Nothing here undoes a mount: the namespace's end does.

Blocks: writing to anything of the host (sources are read-only below the overlay), device nodes other than six
harmless ones, /sys, the parts of /proc that speak of the whole machine. The mounts belong to the host's user
namespace, so that a sandbox's root can neither undo nor add one, whatever seccomp does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

from . import syscalls as sc
from .plan import BRANCH_ROOT, HOST, JailPlan

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
MASKED_FILES = ("kcore", "keys", "key-users", "kmsg", "timer_list", "sched_debug", "sysrq-trigger", "latency_stats",
                "kallsyms", "kpagecount", "kpageflags", "kpagecgroup",
    "interrupts", "softirqs", "iomem", "ioports")  # fmt: skip
READ_ONLY_TREES = ("sys", "irq", "bus", "fs", "acpi", "scsi", "asound", "driver", "tty")


def compose_jail(plan: JailPlan, userns: int) -> None:
    """Make the jail's root at ``plan.mount_point`` and move into it; then nothing of the host's tree is reachable."""
    root = plan.mount_point
    sc.mount(None, "/", None, sc.MS_REC | sc.MS_PRIVATE)
    sc.mount("tmpfs", root, "tmpfs", sc.MS_NOSUID | sc.MS_NODEV, "mode=755,size=1m")
    for directory in (f"{HOST}/disk", f"{HOST}/skeleton", f"{HOST}/dev", "/old", BRANCH_ROOT):
        os.makedirs(f"{root}{directory}")  # noqa: PTH103 - forty paths a jail: strings are the hot path here
    sc.mount(plan.disk, f"{root}{HOST}/disk", "ext4", sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOATIME, "noinit_itable")
    _bind_mapped(plan.skeleton, f"{root}{HOST}/skeleton", userns)
    for number, source in enumerate(plan.sources):
        os.mkdir(f"{root}{HOST}/{number}")  # noqa: PTH102 - see above
        _bind_mapped(source, f"{root}{HOST}/{number}", userns)
    for name in DEVICES:
        _touch(f"{root}{HOST}/dev/{name}")
        sc.mount(f"/dev/{name}", f"{root}{HOST}/dev/{name}", None, sc.MS_BIND)
    sc.pivot_root(root, f"{root}/old")
    os.chdir("/")
    sc.umount2("/old", sc.MNT_DETACH)
    os.rmdir("/old")  # noqa: PTH106 - see above


def compose_branch(plan: JailPlan, branch: str, layers: Sequence[str] = ()) -> str:
    """Make the root of ``branch``; ``layers`` are frozen branches below it, newest first. Returns where it stands.

    On a disk that was used before (a kernel that is replaced) the branch's own files are found again.
    """
    root, disk = f"{BRANCH_ROOT}/{branch}", f"{HOST}/disk"
    os.mkdir(root)  # noqa: PTH102 - see compose_jail
    trees = [("root", "", f"{HOST}/skeleton")]
    trees += [(str(number), source, f"{HOST}/{number}") for number, source in enumerate(plan.sources)]
    for key, path, base in trees:
        upper, work = f"{disk}/{branch}/{key}/upper", f"{disk}/{branch}/{key}/work"
        os.makedirs(work, exist_ok=True)  # noqa: PTH103 - see compose_jail
        with suppress(FileExistsError):
            _make_upper(upper, base, plan.owner)
        lower = ":".join([f"{disk}/{layer}/{key}/upper" for layer in layers] + [base])
        sc.mount(
            "overlay",
            f"{root}{path}",
            "overlay",
            sc.MS_NODEV,
            f"lowerdir={lower},upperdir={upper},workdir={work}",
        )
    _mount_kernel_trees(plan, root)
    return root


def _make_upper(upper: str, base: str, owner: int) -> None:
    """An empty upper layer whose top has the owner and the mode that the base's top shows."""
    os.mkdir(upper)  # noqa: PTH102 - see compose_jail
    os.chown(upper, owner, owner)
    os.chmod(upper, os.stat(base).st_mode & 0o7777)  # noqa: PTH101, PTH116 - see compose_jail


def _mount_kernel_trees(plan: JailPlan, root: str) -> None:
    sc.mount("proc", f"{root}/proc", "proc", sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC)
    sc.mount("tmpfs", f"{root}/dev", "tmpfs", sc.MS_NOSUID, "mode=755,size=64k")
    for name in DEVICES:
        _touch(f"{root}/dev/{name}")
        sc.mount(f"{HOST}/dev/{name}", f"{root}/dev/{name}", None, sc.MS_BIND)
    for name in ("pts", "shm", "mqueue"):
        os.mkdir(f"{root}/dev/{name}")  # noqa: PTH102 - see compose_jail
    owner = f"uid={plan.owner},gid={plan.owner}"
    sc.mount("devpts", f"{root}/dev/pts", "devpts", sc.MS_NOSUID | sc.MS_NOEXEC,
             f"newinstance,ptmxmode=0666,mode=620,gid={plan.owner + 5}")  # fmt: skip
    sc.mount("tmpfs", f"{root}/dev/shm", "tmpfs", sc.MS_NOSUID | sc.MS_NODEV,  # noqa: S108 - it is being made
             f"mode=1777,size={plan.shm_mib}m,{owner}")  # fmt: skip
    sc.mount("mqueue", f"{root}/dev/mqueue", "mqueue", sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC)
    links = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
    for name, target in links.items():
        os.symlink(target, f"{root}/dev/{name}")  # noqa: PTH211 - see compose_jail
    if "proc-masks" in plan.without:
        return
    for name in MASKED_FILES:
        with suppress(FileNotFoundError):  # which of these exist differs from kernel to kernel
            sc.mount("/.host/dev/null", f"{root}/proc/{name}", None, sc.MS_BIND)
    for name in READ_ONLY_TREES:
        with suppress(FileNotFoundError):
            sc.mount(f"{root}/proc/{name}", f"{root}/proc/{name}", None, sc.MS_BIND | sc.MS_REC)
            sc.mount(None, f"{root}/proc/{name}", None,
                     sc.MS_BIND | sc.MS_REMOUNT | sc.MS_RDONLY | sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC)  # fmt: skip


def _bind_mapped(source: str, target: str, userns: int) -> None:
    """Bind ``source`` read-only with its owners seen through ``userns`` (mount_setattr(2), Linux 5.12)."""
    tree = sc.open_tree(source)
    try:
        sc.mount_setattr(
            tree, attr_set=sc.MOUNT_ATTR_IDMAP | sc.MOUNT_ATTR_RDONLY | sc.MOUNT_ATTR_NODEV, userns_fd=userns
        )
        sc.move_mount(tree, target)
    finally:
        os.close(tree)


def _touch(path: str) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
