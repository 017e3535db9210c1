"""The system calls a sandbox may not make: a table that is the argument, and the filter made from it.

Blocks: the parts of the Linux kernel that a notebook has no use for and that most local privilege escalations
went through, those that no namespace divides, and every call that is newer than this table. It holds for the
kernel process and all it ever starts; a filter never comes off. Calls of other instruction sets of the same
machine (32-bit, x32) are refused altogether, so that no number here can be reached under another name.

Does not block: a bug in a call that remains (files, memory, sockets, futexes, ...). ``ptrace`` and
``process_vm_readv`` remain on purpose, for debuggers and profilers: they reach only processes of the same pid
and user namespace, which are the same tenant's; seccomp judges a traced call after its tracer has changed it
(Linux 4.8), so a tracer cannot get around this filter. ``chroot`` remains, for a live fork. ``seccomp`` and
``landlock`` remain: they only take away. ``mbind`` and ``set_mempolicy`` remain, since they place a process's
own pages; those that move the pages of others do not.

Which error: EPERM where an ordinary user would get it anyway; ENOSYS where programs try a newer way and have
an older one to fall back to; the error of a kernel built without it where libraries test for that. Nothing is
answered by a signal. Calls whose rule is their number alone cost nothing when allowed: Linux keeps a bitmap
of them (5.11).

Stands on ``bpf``, ``syscall_numbers`` and ``syscalls``; ``enter`` installs it last.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from functools import cache

from . import bpf, syscalls
from .syscall_numbers import FIRST_COMMON, LAST_OWN, LAST_REVIEWED, NUMBERS


@dataclass(frozen=True, slots=True)
class Denial:
    """Calls that are refused whatever their arguments: which, with what error, and why."""

    calls: str
    errno: int
    why: str


DENIED = (
    Denial("mount umount2 pivot_root", errno.EPERM, "the jail's mounts are what its files are isolated by"),
    Denial("open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr", errno.EPERM,
           "the same by the newer interface; its option parser was a way to root (CVE-2022-0185)"),
    Denial("statmount listmount", errno.ENOSYS, "tells of mounts; /proc/self/mountinfo does for ours"),
    Denial("setns", errno.EPERM, "enters other namespaces"),
    Denial("clone3", errno.ENOSYS, "has its flags in memory, where no filter sees them; libc takes clone"),
    Denial("bpf", errno.EPERM, "runs programs inside of the kernel"),
    Denial("perf_event_open", errno.EPERM, "measures the whole machine; a long row of privilege escalations"),
    Denial("userfaultfd", errno.EPERM, "stops the kernel in the middle of a copy, which makes races certain"),
    Denial("io_uring_setup io_uring_enter io_uring_register", errno.ENOSYS,
           "system calls that no seccomp filter sees; libuv and others fall back to epoll"),
    Denial("keyctl add_key request_key", errno.EPERM, "keyrings are divided by no namespace but the user's"),
    Denial("init_module finit_module delete_module create_module query_module get_kernel_syms", errno.EPERM,
           "loads code into the kernel, or tells of it"),
    Denial("kexec_load kexec_file_load reboot", errno.EPERM, "replaces or ends the machine's kernel"),
    Denial("open_by_handle_at", errno.EPERM, "opens any file of a file system from within any directory"),
    Denial("name_to_handle_at", errno.EOPNOTSUPP, "makes such handles; file systems without them say this"),
    Denial("kcmp pidfd_getfd", errno.EPERM, "compares kernel objects, takes descriptors; not needed here"),
    Denial("swapon swapoff acct quotactl quotactl_fd", errno.EPERM, "is administration of storage"),
    Denial("iopl ioperm", errno.EPERM, "gives direct access to ports of the hardware"),
    Denial("settimeofday clock_settime adjtimex clock_adjtime", errno.EPERM, "the clock is everybody's"),
    Denial("sethostname setdomainname", errno.EPERM, "the names are the jail's"),
    Denial("syslog", errno.EPERM, "the kernel's log tells of every tenant, and of addresses"),
    Denial("lookup_dcookie vhangup", errno.EPERM, "is administration; not needed here"),
    Denial("move_pages migrate_pages", errno.EPERM, "moves other processes' memory, and told where it lies"),
    Denial("fanotify_init fanotify_mark", errno.EPERM, "watches whole file systems; inotify remains"),
    Denial("memfd_secret", errno.ENOSYS, "memory that even the kernel does not map; off on most machines"),
    Denial("cachestat", errno.ENOSYS, "tells what neighbours have read of the files that all share"),
    Denial("lsm_get_self_attr lsm_set_self_attr lsm_list_modules", errno.ENOSYS, "are for the host"),
    Denial("modify_ldt", errno.ENOSYS, "16-bit segments, for Wine and DOSEMU: much exploited"),
    Denial("nfsservctl uselib ustat sysfs _sysctl", errno.ENOSYS, "obsolete; many kernels lack them"),
)  # fmt: skip
"""Refused whatever the arguments. Those below depend on them."""

NAMESPACE_FLAGS = (
    syscalls.CLONE_NEWNS | syscalls.CLONE_NEWCGROUP | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC
    | syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNET
)  # fmt: skip
"""For ``clone``, whose lowest byte is a signal. In a namespace of its own a process would be its root."""
UNSHARE_HARMLESS = 0x00000100 | 0x00000200 | 0x00000400 | 0x00000800 | 0x00010000 | 0x00040000
"""For ``unshare``: memory, directory, descriptors, signal handlers, threads, semaphores: what threads share.
Every other flag makes a namespace, or will."""

PERSONALITIES = (0, 0xFFFFFFFF, 0x0040000)
"""Plain Linux, the question which it is, and without address randomisation (gdb, sanitizers). Others make
memory executable, or map page zero."""

TERMINAL_COMMANDS = (0x5412, 0x541C, 0x5423)
"""``ioctl``: TIOCSTI and TIOCLINUX type into somebody else's terminal; TIOCSETD loads line disciplines."""

INET_TYPES = (socket.SOCK_STREAM, socket.SOCK_DGRAM)
INET_PROTOCOLS = (0, socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6)
"""``socket``: others (sctp, dccp, l2tp, ...) are modules that the kernel loads on request. ICMP is ping's
datagram."""
SOCKET_TYPE_MASK = 0xF
NETLINK_ROUTE = 0
"""The one netlink that getaddrinfo and getifaddrs ask; the others (netfilter, xfrm, audit, ...) are the
kernel's administration."""

_AUDIT_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


@cache
def program(machine: str = syscalls.MACHINE) -> bytes:
    """Make the filter for ``machine``, once: best before forking. Raises OSError where there is no table."""
    if machine not in NUMBERS:
        raise OSError(errno.ENOSYS, f"seccomp: there is no table of system calls for {machine}")
    numbers = NUMBERS[machine]
    rules = (
        bpf.load(bpf.ARCHITECTURE)
        + bpf.if_none_of([_AUDIT_ARCHITECTURE[machine]], bpf.refuse(errno.ENOSYS))
        + bpf.load(bpf.CALL_NUMBER)
        + bpf.if_greater(LAST_REVIEWED, bpf.refuse(errno.ENOSYS))  # x32's numbers, too: they have bit 30 set
        + bpf.if_between(LAST_OWN[machine] + 1, FIRST_COMMON - 1, bpf.refuse(errno.ENOSYS))
    )
    for call, rule in _RULES.items():
        rules += bpf.if_equal(numbers[call], rule())
    for denial in DENIED:
        for call in denial.calls.split():
            if call in numbers:
                rules += bpf.if_equal(numbers[call], bpf.refuse(denial.errno))
    return bpf.assemble(rules + bpf.allow())


def install(program: bytes) -> None:
    """Put all threads of this process under ``program``. Needs no_new_privs, or CAP_SYS_ADMIN here."""
    syscalls.seccomp_set_filter(program, syscalls.SECCOMP_FILTER_FLAG_TSYNC)


def _clone() -> bpf.Block:
    return bpf.load(bpf.argument(0)) + bpf.if_any_bit(NAMESPACE_FLAGS, bpf.refuse(errno.EPERM)) + bpf.allow()


def _unshare() -> bpf.Block:
    others = 0xFFFFFFFF & ~UNSHARE_HARMLESS
    return bpf.load(bpf.argument(0)) + bpf.if_any_bit(others, bpf.refuse(errno.EPERM)) + bpf.allow()


def _personality() -> bpf.Block:
    return bpf.load(bpf.argument(0)) + bpf.if_none_of(PERSONALITIES, bpf.refuse(errno.EPERM)) + bpf.allow()


def _ioctl() -> bpf.Block:
    refused: bpf.Block = []
    for command in TERMINAL_COMMANDS:
        refused += bpf.if_equal(command, bpf.refuse(errno.EPERM))
    return bpf.load(bpf.argument(1)) + refused + bpf.allow()


def _socket() -> bpf.Block:
    inet = (
        bpf.load(bpf.argument(1))
        + bpf.keep_bits(SOCKET_TYPE_MASK)
        + bpf.if_none_of(INET_TYPES, bpf.refuse(errno.EPERM))
        + bpf.load(bpf.argument(2))
        + bpf.if_none_of(INET_PROTOCOLS, bpf.refuse(errno.EPROTONOSUPPORT))
        + bpf.allow()
    )
    netlink = (
        bpf.load(bpf.argument(2)) + bpf.if_none_of([NETLINK_ROUTE], bpf.refuse(errno.EPROTONOSUPPORT)) + bpf.allow()
    )
    return (
        bpf.load(bpf.argument(0))
        + bpf.if_equal(socket.AF_UNIX, bpf.allow())
        + bpf.if_equal(socket.AF_INET, inet)
        + bpf.if_equal(socket.AF_INET6, inet)
        + bpf.if_equal(socket.AF_NETLINK, netlink)
        + bpf.refuse(errno.EAFNOSUPPORT)
    )


def _socketpair() -> bpf.Block:
    return bpf.load(bpf.argument(0)) + bpf.if_none_of([socket.AF_UNIX], bpf.refuse(errno.EAFNOSUPPORT)) + bpf.allow()


_RULES = {
    "clone": _clone,
    "unshare": _unshare,
    "personality": _personality,
    "ioctl": _ioctl,
    "socket": _socket,
    "socketpair": _socketpair,
}
