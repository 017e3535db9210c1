"""The system calls a jail is built from, as Python functions: ints, strings and bytes in, ``OSError`` out.

A thin layer over libc, nothing more: no policy, no state. Every failure is an ``OSError`` whose text begins
with the name of the call. Standard library only, as everything under ``jail/``: the Python of a template's
own environment imports it. Above it stand ``enter``, ``mounts``, ``capabilities``, ``seccomp``, ``layers``.
What ``os`` has already (``chroot``, ``pidfd_open``, ``fork``) is not repeated. Works on x86_64 and aarch64;
elsewhere the calls that libc does not wrap say ENOSYS.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct

from .syscall_numbers import NUMBERS

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

MACHINE = os.uname().machine
_NUMBERS = NUMBERS.get(MACHINE, {})

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_SYMLINK_NOFOLLOW = 0x100

# unshare, setns
CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# mount
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_NOSYMFOLLOW = 256
MS_NOATIME = 1024
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21

# umount2
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

# open_tree, move_mount, fsopen and their kin
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 0x00000004
MOVE_MOUNT_T_EMPTY_PATH = 0x00000040
FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_SET_FD = 5
FSCONFIG_CMD_CREATE = 6

# mount_setattr, fsmount
MOUNT_ATTR_RDONLY = 0x00000001
MOUNT_ATTR_NOSUID = 0x00000002
MOUNT_ATTR_NODEV = 0x00000004
MOUNT_ATTR_NOEXEC = 0x00000008
MOUNT_ATTR_NOATIME = 0x00000010
MOUNT_ATTR_IDMAP = 0x00100000
MOUNT_ATTR_NOSYMFOLLOW = 0x00200000

# prctl
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_SECUREBITS = 28
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4

# openat2
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10
RESOLVE_CACHED = 0x20

# close_range
CLOSE_RANGE_UNSHARE = 2
CLOSE_RANGE_CLOEXEC = 4
PIDFD_SIGNAL_PROCESS_GROUP = 4

LAST_DESCRIPTOR = 0xFFFFFFFF

# seccomp
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_GET_ACTION_AVAIL = 2
SECCOMP_FILTER_FLAG_TSYNC = 1

KEYCTL_JOIN_SESSION_KEYRING = 1

# struct pidfd_info: mask, cgroup id, eleven ids, exit code
_PIDFD_INFO = struct.Struct("=2Q 11I i")
_PIDFD_INFO_EXIT = 8
_PIDFD_GET_INFO = 3 << 30 | _PIDFD_INFO.size << 16 | 0xFF << 8 | 11
_CAPABILITY_VERSION_3 = 0x20080522


class _FilterProgram(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _checked(result: int, call: str, about: str = "") -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}{about and ' ' + about}: {os.strerror(number)}")
    return result


def _syscall(call: str, *arguments: object, about: str = "") -> int:
    """Raw system call. Integers travel as machine words: ctypes would cut them to 32 bits."""
    number = _NUMBERS.get(call)
    if number is None:
        raise OSError(errno.ENOSYS, f"{call}: not known on {MACHINE}")
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return _checked(int(_libc.syscall(ctypes.c_long(number), *words)), call, about)


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)


def unshare(flags: int) -> None:
    """Move this process into new namespaces (a new pid namespace is for its next child)."""
    _checked(_libc.unshare(ctypes.c_int(flags)), "unshare", hex(flags))


def setns(descriptor: int, flags: int = 0) -> None:
    """Join the namespace of ``/proc/<pid>/ns/*``, or those in ``flags`` of a pidfd."""
    _syscall("setns", descriptor, flags)


def mount(source: str | None, target: str, fstype: str | None = None, flags: int = 0, data: str | None = None) -> None:
    """Mount, bind, remount, move, or change propagation, as ``flags`` say."""
    result = _libc.mount(_bytes(source), _bytes(target), _bytes(fstype), ctypes.c_ulong(flags), _bytes(data))
    _checked(result, "mount", target)


def umount2(target: str, flags: int = 0) -> None:
    """Unmount ``target``; ``MNT_DETACH`` even while it is in use."""
    _checked(_libc.umount2(_bytes(target), ctypes.c_int(flags)), "umount2", target)


def pivot_root(new_root: str, put_old: str) -> None:
    """Make ``new_root`` the root of this mount namespace and put the old one at ``put_old``."""
    _syscall("pivot_root", _bytes(new_root), _bytes(put_old), about=new_root)


def open_tree(path: str, flags: int = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC, *, dir_fd: int = AT_FDCWD) -> int:
    """Descriptor of the mount at ``path``; with ``OPEN_TREE_CLONE`` of a detached copy (a bind to be), with
    ``AT_RECURSIVE`` too of all mounts below it."""
    return _syscall("open_tree", dir_fd, _bytes(path), flags, about=path)


def move_mount(mount_fd: int, target: str, *, dir_fd: int = AT_FDCWD, flags: int = MOVE_MOUNT_F_EMPTY_PATH) -> None:
    """Attach the detached mount ``mount_fd`` at ``target``."""
    _syscall("move_mount", mount_fd, b"", dir_fd, _bytes(target), flags, about=target)


def mount_setattr(  # noqa: PLR0913 - the fields of struct mount_attr, by keyword
    mount_fd: int, *, attr_set: int = 0, attr_clr: int = 0, propagation: int = 0,
    userns_fd: int = 0, recursive: bool = False,
) -> None:  # fmt: skip
    """Change attributes of a mount; ``MOUNT_ATTR_IDMAP`` with ``userns_fd`` maps the owners of its files."""
    attributes = struct.pack("QQQQ", attr_set, attr_clr, propagation, userns_fd)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    _syscall("mount_setattr", mount_fd, b"", flags, attributes, len(attributes))


def fsopen(fstype: str) -> int:
    """Begin a new filesystem; ``fsconfig_*`` say how, ``fsmount`` makes a detached mount of it."""
    return _syscall("fsopen", _bytes(fstype), FSOPEN_CLOEXEC, about=fstype)


def fsconfig_string(fs_fd: int, key: str, value: str) -> None:
    """Set an option that has a value. Overlay's ``lowerdir+`` may be repeated, one layer each."""
    _syscall("fsconfig", fs_fd, FSCONFIG_SET_STRING, _bytes(key), _bytes(value), 0,
        about=f"{key}={value}",
    )  # fmt: skip


def fsconfig_flag(fs_fd: int, key: str) -> None:
    """Set an option that has no value."""
    _syscall("fsconfig", fs_fd, FSCONFIG_SET_FLAG, _bytes(key), None, 0, about=key)


def fsconfig_fd(fs_fd: int, key: str, value_fd: int) -> None:
    """Set an option by descriptor (overlay layers by descriptor need Linux 6.13)."""
    _syscall("fsconfig", fs_fd, FSCONFIG_SET_FD, _bytes(key), None, value_fd, about=key)


def fsmount(fs_fd: int, attributes: int = 0) -> int:
    """Create the filesystem that was configured; descriptor of its detached mount, for ``move_mount``."""
    _syscall("fsconfig", fs_fd, FSCONFIG_CMD_CREATE, None, None, 0, about="create")
    return _syscall("fsmount", fs_fd, FSMOUNT_CLOEXEC, attributes)


def prctl(option: int, *arguments: int) -> int:
    """Set or read what concerns this process; arguments not given are zero, as the kernel demands."""
    words = [ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:4]]
    return _checked(_libc.prctl(ctypes.c_int(option), *words), "prctl", str(option))


def set_no_new_privs() -> None:
    """From here on no exec grants a privilege: setuid bits and file capabilities do nothing."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def set_parent_death_signal(signum: int) -> None:
    """Be signalled when the thread that forked us ends. A change of credentials clears it: call it after."""
    prctl(PR_SET_PDEATHSIG, signum)


def set_dumpable(*, dumpable: bool) -> None:
    """Whether others of our uid may trace us and read our /proc entries; no also means no core file."""
    prctl(PR_SET_DUMPABLE, int(dumpable))


def set_child_subreaper(*, enabled: bool = True) -> None:
    """Orphans among our descendants become our children."""
    prctl(PR_SET_CHILD_SUBREAPER, int(enabled))


def set_name(name: str) -> None:
    """Name of this thread in ``ps`` and ``/proc/<pid>/comm``: 15 bytes, the rest is cut by the kernel."""
    text = ctypes.create_string_buffer(os.fsencode(name))
    _checked(_libc.prctl(PR_SET_NAME, text, *[ctypes.c_ulong(0)] * 3), "prctl", "set name")


def capset(*, effective: int, permitted: int, inheritable: int) -> None:
    """Set this thread's capability sets: one bit for each capability number."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    low, high = [[(mask >> shift) & 0xFFFFFFFF for mask in (effective, permitted, inheritable)] for shift in (0, 32)]
    _checked(_libc.capset(header, struct.pack("=6I", *low, *high)), "capset")


def capget(pid: int = 0) -> tuple[int, int, int]:
    """``(effective, permitted, inheritable)`` of a thread, as bit masks."""
    data = ctypes.create_string_buffer(24)
    _checked(_libc.capget(struct.pack("=Ii", _CAPABILITY_VERSION_3, pid), data), "capget")
    words = struct.unpack("=6I", data.raw)
    effective, permitted, inheritable = (words[i] | words[i + 3] << 32 for i in range(3))
    return effective, permitted, inheritable


def pidfd_send_signal(pidfd: int, signum: int, flags: int = 0) -> None:
    """Signal the very process that ``pidfd`` was opened for, never one that took its number over.

    With ``PIDFD_SIGNAL_PROCESS_GROUP`` its process group (Linux 6.9; EINVAL before).
    """
    _syscall("pidfd_send_signal", pidfd, signum, None, flags)


def pidfd_wait_status(pidfd: int) -> int | None:
    """How a process ended, as of wait(2), whoever reaped it; None while it is not reaped, or before Linux 6.15."""
    info = bytearray(_PIDFD_INFO.pack(_PIDFD_INFO_EXIT, 0, *(0,) * 11, 0))
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    except OSError as error:
        if error.errno in {errno.ENOTTY, errno.EINVAL, errno.ESRCH}:
            return None
        raise
    mask, *_, status = _PIDFD_INFO.unpack(info)
    return int(status) if mask & _PIDFD_INFO_EXIT else None


def openat2(path: str, flags: int, *, mode: int = 0, resolve: int = 0, dir_fd: int = AT_FDCWD) -> int:
    """Open ``path`` below ``dir_fd`` within the bounds of ``resolve``; ``mode`` is for ``O_CREAT`` only."""
    how = struct.pack("QQQ", flags | os.O_CLOEXEC, mode, resolve)
    return _syscall("openat2", dir_fd, _bytes(path), how, len(how), about=path)


def close_range(first: int, last: int = LAST_DESCRIPTOR, flags: int = 0) -> None:
    """Close every descriptor from ``first`` to ``last``, both included; none of them need be open."""
    _syscall("close_range", first, last, flags)


def sethostname(name: str) -> None:
    """Name the host of this uts namespace."""
    text = os.fsencode(name)
    _checked(_libc.sethostname(text, ctypes.c_size_t(len(text))), "sethostname", name)


def join_new_session_keyring() -> None:
    """Leave the keyring that was inherited for a new, empty one."""
    _syscall("keyctl", KEYCTL_JOIN_SESSION_KEYRING, None)


def seccomp_set_filter(program: bytes, flags: int = 0) -> None:
    """Put this thread and what it starts under a classic BPF filter (with TSYNC: all threads).

    Needs no_new_privs, or CAP_SYS_ADMIN in this user namespace. A filter never comes off again.
    """
    code = ctypes.create_string_buffer(program, len(program))
    filter_program = _FilterProgram(len(program) // 8, ctypes.addressof(code))
    result = _syscall("seccomp", SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(filter_program))
    if result > 0:
        raise OSError(errno.EAGAIN, f"seccomp: thread {result} could not be put under the filter")
