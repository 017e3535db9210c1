"""Composes what a sandbox sees as its file system, in a mount namespace of its own that belongs to the host.

Inside the jail's root (a small tmpfs) stand ``/.host`` (read-only sources, the sandbox's disk, device nodes, /proc and
/dev as every branch gets them: only the composing needs them) and ``/b/<branch>``, one complete root for each branch
(``branch_roots``). Nothing here undoes a mount: the namespace's end does.

Blocks: writing to anything of the host (sources are read-only below the overlay), device nodes other than six
harmless ones, /sys, the parts of /proc that speak of the whole machine. The mounts belong to the host's user
namespace, so that a sandbox's root can neither undo nor add one, whatever seccomp does.
"""

from __future__ import annotations

import os
from contextlib import suppress

from . import syscalls as sc
from .plan import BRANCH_ROOT, HOST, INSTALLED, LAYERS, TREES, JailPlan

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
MASKED_FILES = ("kcore", "keys", "key-users", "kmsg", "timer_list", "sched_debug", "sysrq-trigger", "latency_stats",
                "kallsyms", "kpagecount", "kpageflags", "kpagecgroup",
    "interrupts", "softirqs", "iomem", "ioports")  # fmt: skip
READ_ONLY_TREES = ("sys", "irq", "bus", "fs", "acpi", "scsi", "asound", "driver", "tty")
DISK_OPTIONS = "noinit_itable,data=writeback,nobarrier,commit=60"
"""Nothing is to survive a crash of the host: what is written waits for no disk (ext4(5))."""
MAX_TERMINALS = 128
"""Of one jail, its programs' own among them: all jails together have what the machine has (kernel.pty.max)."""
PROC, DEV = f"{HOST}/proc", f"{HOST}/branch-dev"
"""What is cloned into each branch."""
INIT_ROOT = f"{HOST}/init"
"""What pid 1 sees: read-only, and none of the branches, so that each of them can be given back before the jail ends."""


def compose_jail(plan: JailPlan, userns: int) -> None:
    """Make the jail's root at ``plan.mount_point`` and move into it; then nothing of the host's tree is reachable."""
    root = plan.mount_point
    sc.mount(None, "/", None, sc.MS_REC | sc.MS_PRIVATE)
    sc.mount("tmpfs", root, "tmpfs", sc.MS_NOSUID | sc.MS_NODEV, "mode=755,size=1m")
    private = 0o755 if "branch-root" in plan.without else 0o700
    for directory in (HOST, BRANCH_ROOT, "/old"):
        os.mkdir(f"{root}{directory}", private)  # noqa: PTH102 - forty paths a jail: strings are the hot path here
    for directory in (LAYERS, PROC, DEV, INIT_ROOT, f"{HOST}/skeleton", f"{HOST}/dev"):
        os.mkdir(f"{root}{directory}")  # noqa: PTH102 - see above
    sc.mount(plan.disk, f"{root}{LAYERS}", "ext4", sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOATIME, DISK_OPTIONS)
    _bind_mapped(plan.skeleton, f"{root}{HOST}/skeleton", userns)
    for number, source in enumerate(plan.sources):
        os.mkdir(f"{root}{HOST}/{number}")  # noqa: PTH102 - see above
        _bind_mapped(source, f"{root}{HOST}/{number}", userns)
    if plan.installed is not None:
        os.mkdir(f"{root}{INSTALLED}")  # noqa: PTH102 - see above
        sc.mount(plan.installed.device, f"{root}{INSTALLED}", "ext4", sc.MS_RDONLY | sc.MS_NOSUID | sc.MS_NODEV)
        for key in plan.installed.keys:
            os.mkdir(f"{root}{INSTALLED}{key}")  # noqa: PTH102 - see above
            _bind_mapped(f"{root}{INSTALLED}/{TREES}/{key}", f"{root}{INSTALLED}{key}", userns)
    for name in DEVICES:
        _touch(f"{root}{HOST}/dev/{name}")
        sc.mount(f"/dev/{name}", f"{root}{HOST}/dev/{name}", None, sc.MS_BIND)
    sc.pivot_root(root, f"{root}/old")
    os.chdir("/")
    sc.umount2("/old", sc.MNT_DETACH)
    os.rmdir("/old")  # noqa: PTH106 - see above
    _mount_proc(plan)
    _mount_dev(plan)
    for tree in plan.trees:
        sc.mount(tree.base, f"{INIT_ROOT}{tree.path}", None, sc.MS_BIND)


def _mount_proc(plan: JailPlan) -> None:
    sc.mount("proc", PROC, "proc", sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC)
    if "proc-masks" in plan.without:
        return
    for name in MASKED_FILES:
        with suppress(FileNotFoundError):  # which of these exist differs from kernel to kernel
            sc.mount(f"{HOST}/dev/null", f"{PROC}/{name}", None, sc.MS_BIND)
    for name in READ_ONLY_TREES:
        with suppress(FileNotFoundError):
            sc.mount(f"{PROC}/{name}", f"{PROC}/{name}", None, sc.MS_BIND | sc.MS_REC)
            sc.mount(None, f"{PROC}/{name}", None,
                     sc.MS_BIND | sc.MS_REMOUNT | sc.MS_RDONLY | sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC)  # fmt: skip


def _mount_dev(plan: JailPlan) -> None:
    """All of /dev but /dev/shm, which each branch has for itself. No sandbox can write to the directory itself."""
    sc.mount("tmpfs", DEV, "tmpfs", sc.MS_NOSUID, "mode=755,size=64k")
    for name in DEVICES:
        _touch(f"{DEV}/{name}")
        sc.mount(f"{HOST}/dev/{name}", f"{DEV}/{name}", None, sc.MS_BIND)
    for name in ("pts", "shm", "mqueue"):
        os.mkdir(f"{DEV}/{name}")  # noqa: PTH102 - see compose_jail
    sc.mount("devpts", f"{DEV}/pts", "devpts", sc.MS_NOSUID | sc.MS_NOEXEC,
             f"newinstance,ptmxmode=0666,mode=620,gid={plan.owner + 5},max={MAX_TERMINALS}")  # fmt: skip
    sc.mount("mqueue", f"{DEV}/mqueue", "mqueue", sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC)
    links = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
    for name, target in links.items():
        os.symlink(target, f"{DEV}/{name}")  # noqa: PTH211 - see compose_jail


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
