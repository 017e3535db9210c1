"""What this machine offers to build jails from, layer by layer, found out by trying.

Each probe does in a process of its own what the jail will do, and is over with it: no version is compared, no
configuration believed. ``probe`` gives the table that ``podflare-nb doctor`` and the capabilities route show;
``require`` refuses a start for which a layer is missing (fail closed).

Does not tell whether a layer holds against an attack: that is what the attack tests are for. Leaves nothing
behind. Stands on everything else in ``jail/``; the supervisor and the command line stand above it.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import IsolationError
from ..limits import Limits
from . import cgroup_mounts, seccomp, user_namespace
from . import syscalls as sc
from .cgroups import CgroupTree
from .disk import DiskStore

PROBE_SECONDS = 10
CAP_SYS_ADMIN = 21
ORDINARY_USER = (
    "run it as root, or in a container with --privileged; for a single trusted user there is --isolation none, "
    "which isolates nothing"
)
PRIVILEGES = "run it as root; in a container: with --privileged, which allows namespaces and mounts"
KERNEL = "use a newer Linux (6.1 has all of it)"


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer. ``detail``: a sentence on what was found; ``remedy``: what to do, empty if it is available;
    ``required``: whether jails need it."""

    name: str
    available: bool
    detail: str
    remedy: str = ""
    required: bool = True


@dataclass(frozen=True, slots=True)
class _Probe:
    """``attempt`` raises OSError if the layer cannot be had, and may return a sentence; ``finds`` is the usual one."""

    name: str
    attempt: Callable[[str], str | None]
    finds: str
    remedy: str


def probe() -> list[Layer]:
    """Try every layer. Blocks for some tens of milliseconds; needs no privilege to be asked."""
    with tempfile.TemporaryDirectory(prefix="podflare-nb-probe-") as directory:
        attempts = [(each, _Attempt(each, directory)) for each in _PROBES]
        return [attempt.layer(each) for each, attempt in attempts]


def optional(name: str, attempt: Callable[[str], str | None], finds: str, remedy: str) -> Layer:
    """Try something that jails can do without. ``attempt``: what a process of its own does, raising OSError if it
    cannot be had; ``finds``: the usual sentence."""
    each = _Probe(name, attempt, finds, remedy)
    with tempfile.TemporaryDirectory(prefix="podflare-nb-probe-") as directory:
        return replace(_Attempt(each, directory).layer(each), required=False)


def require(layers: Sequence[Layer], isolation: str = "namespaces") -> None:
    """Refuse, with one sentence, an isolation that these layers cannot give. Raises IsolationError."""
    missing = [layer for layer in layers if not layer.available]
    if isolation == "none" or not missing:
        return
    names = ", ".join(layer.name for layer in missing)
    details: dict[str, object] = {"missing": [layer.name for layer in missing]}
    if any(layer.name == ROOT for layer in missing):
        raise IsolationError(f"Jails cannot be built without root's rights: {ORDINARY_USER}.", **details)
    first = missing[0]
    raise IsolationError(
        f"Jails cannot be built on this machine, {names} cannot be had ({first.detail}): {first.remedy}; "
        "or, for a single trusted user, --isolation none.",
        **details,
    )


class _Attempt:
    """A probe under way in a child, which answers on a pipe: ``+`` or ``-`` and a sentence."""

    def __init__(self, what: _Probe, directory: str) -> None:
        self._read, write = os.pipe2(os.O_CLOEXEC)
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._read)
            os.write(write, _answer(what, directory))
            os._exit(0)
        os.close(write)

    def layer(self, what: _Probe) -> Layer:
        """Wait for the answer; a probe that hangs is a layer that is missing."""
        try:
            ready, _, _ = select.select([self._read], [], [], PROBE_SECONDS)
            answer = os.read(self._read, 4096) if ready else f"-did not end in {PROBE_SECONDS} s".encode()
        finally:
            os.close(self._read)
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        available = answer.startswith(b"+")
        detail = answer[1:].decode(errors="replace") or "the probe ended without an answer"
        return Layer(what.name, available, detail, "" if available else what.remedy)


def _answer(what: _Probe, directory: str) -> bytes:
    try:
        return f"+{what.attempt(directory) or what.finds}".encode()
    except BaseException as error:  # noqa: BLE001 - a forked child has nobody above it: it is told as the answer
        sentence = error.strerror if isinstance(error, OSError) and error.strerror else repr(error)
        return f"-{sentence}".encode()


def _root(_: str) -> None:
    effective, _permitted, _inheritable = sc.capget()
    if not effective >> CAP_SYS_ADMIN & 1:
        raise PermissionError(errno.EPERM, f"uid {os.geteuid()} has no CAP_SYS_ADMIN")


def _namespace(flag: int) -> Callable[[str], None]:
    return lambda _: sc.unshare(flag)


def _user_namespace(_: str) -> None:
    os.close(user_namespace.create(user_namespace.FIRST_ID))


def _private_tmpfs(directory: str) -> None:
    """A mount namespace of our own with an empty file system at ``directory``: gone when the probe ends."""
    sc.unshare(sc.CLONE_NEWNS)
    sc.mount(None, "/", None, sc.MS_REC | sc.MS_PRIVATE)
    sc.mount("tmpfs", directory, "tmpfs", sc.MS_NOSUID | sc.MS_NODEV, "mode=755")
    for name in ("lower", "upper", "work", "merged"):
        os.mkdir(f"{directory}/{name}")  # noqa: PTH102 - strings, as mount(2) takes them


def _overlay(directory: str) -> None:
    sc.mount(
        "overlay", f"{directory}/merged", "overlay", sc.MS_NODEV,
        f"lowerdir={directory}/lower,upperdir={directory}/upper,workdir={directory}/work",
    )  # fmt: skip


def _overlayfs(directory: str) -> None:
    _private_tmpfs(directory)
    lower, merged = Path(directory, "lower", "file"), Path(directory, "merged", "file")
    lower.write_text("below")
    _overlay(directory)
    merged.write_text("above")
    if lower.read_text() != "below":
        raise OSError(errno.EIO, "overlayfs wrote to its lower layer")


def _mount_interface(directory: str) -> None:
    _private_tmpfs(directory)
    sc.move_mount(sc.open_tree("/usr"), f"{directory}/lower")


def _idmapped(directory: str) -> None:
    _private_tmpfs(directory)
    _bind_idmapped(directory)
    _expect_owner(f"{directory}/lower")


def _overlay_over_idmapped(directory: str) -> None:
    _private_tmpfs(directory)
    _bind_idmapped(directory)
    _overlay(directory)
    _expect_owner(f"{directory}/merged/bin")


def _bind_idmapped(directory: str) -> None:
    userns = user_namespace.create(user_namespace.FIRST_ID)
    tree = sc.open_tree("/usr")
    sc.mount_setattr(tree, attr_set=sc.MOUNT_ATTR_IDMAP | sc.MOUNT_ATTR_RDONLY, userns_fd=userns)
    sc.move_mount(tree, f"{directory}/lower")


def _expect_owner(path: str) -> None:
    owner = os.stat(path).st_uid  # noqa: PTH116 - strings, as mount(2) takes them
    if owner != user_namespace.FIRST_ID:
        raise OSError(errno.EIO, f"the mapping does not show: owner {owner}")


def _no_new_privs(_: str) -> None:
    sc.set_no_new_privs()
    if sc.prctl(sc.PR_GET_NO_NEW_PRIVS) != 1:
        raise OSError(errno.EIO, "no_new_privs does not stick")


def _seccomp(_: str) -> None:
    sc.set_no_new_privs()
    seccomp.install(seccomp.program())
    try:
        sc.join_new_session_keyring()
    except PermissionError:
        return
    raise OSError(errno.EIO, "the filter is installed, but does not refuse")


def _control_groups(_: str) -> str:
    tree = CgroupTree.open("probe")
    pid = os.fork()
    if pid == 0:
        signal.pause()
    try:
        missing, version = dict(tree.missing), tree.version
        if not missing:
            tree.create("probe", Limits()).attach(pid)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        tree.remove()
    if missing:
        raise OSError(errno.ENOENT, "; ".join(f"{name}: {why}" for name, why in missing.items()))
    return f"{version} with {', '.join(cgroup_mounts.LIMITED)}"


def _disk(directory: str) -> None:
    disk = DiskStore(Path(directory)).create(4, 64)
    _private_tmpfs(directory)
    sc.mount(disk.path, f"{directory}/merged", "ext4", sc.MS_NOSUID | sc.MS_NODEV)
    disk.close()


def _pidfd(_: str) -> None:
    """The jail is entered by a descriptor of its init: setns(2) must take one."""
    pidfd = os.pidfd_open(os.getpid())
    sc.pidfd_send_signal(pidfd, 0)
    sc.unshare(sc.CLONE_NEWUTS)
    sc.setns(pidfd, sc.CLONE_NEWUTS)


def _close_range(_: str) -> None:
    fd = os.dup(0)
    sc.close_range(fd, fd, sc.CLOSE_RANGE_CLOEXEC)
    if os.get_inheritable(fd):
        raise OSError(errno.EIO, "close_range did nothing")


def _openat2(_: str) -> None:
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    sc.openat2("usr", os.O_PATH, resolve=sc.RESOLVE_BENEATH, dir_fd=root)
    try:
        sc.openat2("../usr", os.O_PATH, resolve=sc.RESOLVE_BENEATH, dir_fd=root)
    except OSError as error:
        if error.errno == errno.EXDEV:
            return
        raise
    raise OSError(errno.EIO, "openat2 let a path escape")


ROOT = "root"
_PROBES = (
    _Probe(ROOT, _root, "CAP_SYS_ADMIN is there", ORDINARY_USER),
    _Probe("mount namespace", _namespace(sc.CLONE_NEWNS), "can be made", PRIVILEGES),
    _Probe("pid namespace", _namespace(sc.CLONE_NEWPID), "can be made", PRIVILEGES),
    _Probe("network namespace", _namespace(sc.CLONE_NEWNET), "can be made", PRIVILEGES),
    _Probe("ipc namespace", _namespace(sc.CLONE_NEWIPC), "can be made", PRIVILEGES),
    _Probe("uts namespace", _namespace(sc.CLONE_NEWUTS), "can be made", PRIVILEGES),
    _Probe("user namespace", _user_namespace, "can be made and maps 65535 ids of its own",
           "run it as the host's own root (a rootless container's is not), with user.max_user_namespaces above 0"),
    _Probe("overlayfs", _overlayfs, "can be mounted, and leaves its lower layer as it is",
           f"load its module (modprobe overlay); {PRIVILEGES}"),
    _Probe("mount interface", _mount_interface, "open_tree and move_mount work", KERNEL),
    _Probe("idmapped mounts", _idmapped, "/usr can belong to a sandbox's root", KERNEL),
    _Probe("overlayfs over idmapped mounts", _overlay_over_idmapped, "/usr can be written over", KERNEL),
    _Probe("no_new_privs", _no_new_privs, "can be set", KERNEL),
    _Probe("seccomp", _seccomp, "the filter is taken, and refuses", "use a Linux with CONFIG_SECCOMP_FILTER"),
    _Probe("cgroups", _control_groups, "memory, cpu and pids",
           "mount cgroupfs writable with the memory, cpu and pids controllers; in a container: --privileged"),
    _Probe("disk", _disk, "loop devices and mkfs.ext4 bound a sandbox's files",
           "install e2fsprogs; in a container, pass the host's loop devices in (--privileged)"),
    _Probe("pidfd", _pidfd, "processes are held by descriptor", KERNEL),
    _Probe("close_range", _close_range, "descriptors can be closed by range", KERNEL),
    _Probe("openat2", _openat2, "paths can be kept beneath a directory", KERNEL),
)  # fmt: skip
