"""Cuts a process down to a set of capabilities, for good: it and all it starts can never have another.

The sandbox's root works inside a user namespace of its own: each capability below counts only for files and
processes that belong to ids of that namespace, for nothing of the host, of the network or of the mounts,
which belong to the host's user namespace. What is kept is what a root needs to install packages and to act as
other users of its own sandbox; everything else is left out so that less of the kernel can be reached from
there.

Left out on purpose, though it looks like a file one: CAP_SETFCAP (under no_new_privs a file's capabilities do
nothing, and packages that set them fall back by themselves), CAP_MKNOD (devices are the host's),
CAP_DAC_READ_SEARCH (CAP_DAC_OVERRIDE covers reading; this one also opens files by handle), CAP_SYS_PTRACE
(tracing one's own processes needs none), CAP_NET_* and CAP_SYS_ADMIN (their objects are the host's; in here
they would only open code paths).

Securebits stay at their defaults: that root gets the bounding set back at exec is what lets it run dpkg, and
the bounding set is what this module cuts.

Does not: change ids, set no_new_privs (``enter`` does). Below: ``syscalls``.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from enum import IntEnum

from . import syscalls


class Capability(IntEnum):
    """The capabilities that this module names, by their numbers in linux/capability.h."""

    CHOWN = 0
    DAC_OVERRIDE = 1
    FOWNER = 3
    FSETID = 4
    KILL = 5
    SETGID = 6
    SETUID = 7
    SETPCAP = 8
    SYS_CHROOT = 18


KERNEL_SET: dict[Capability, str] = {
    Capability.CHOWN: "dpkg, tar and git set owners",
    Capability.DAC_OVERRIDE: "root reads and writes files of the sandbox's other users, as everybody expects",
    Capability.FOWNER: "chmod, utime and rename in sticky directories on those files",
    Capability.FSETID: "setgid directories keep their bit when root writes into them (apt's caches)",
    Capability.KILL: "root signals processes that run as the sandbox's other users (apt's _apt)",
    Capability.SETGID: "apt, su and daemons take on another group of the sandbox",
    Capability.SETUID: "apt, su and daemons take on another user of the sandbox",
    Capability.SYS_CHROOT: "a live fork moves the kernel into its new branch's root; debootstrap",
}
"""What a kernel keeps, each with what it is kept for."""


def keep_kernel_set() -> None:
    """Cut this thread down to ``KERNEL_SET``. Call it as root in the sandbox's user namespace."""
    keep(KERNEL_SET)


def keep(kept: Iterable[Capability]) -> None:
    """Cut this thread down to ``kept``, of which it must have all: bounding, permitted and effective alike.

    Inheritable and ambient end empty: a program that drops to another user starts with nothing.
    """
    kept = frozenset(kept)
    drop_bounding(kept)
    mask = sum(1 << capability for capability in kept)
    syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_CLEAR_ALL)
    syscalls.capset(effective=mask, permitted=mask, inheritable=0)


def drop_bounding(kept: Iterable[Capability] = ()) -> None:
    """Take all but ``kept`` out of the bounding set: no exec ever gives them again. Needs CAP_SETPCAP."""
    kept = frozenset(kept)
    number = 0
    while True:
        if number not in kept:
            try:
                syscalls.prctl(syscalls.PR_CAPBSET_DROP, number)
            except OSError as error:
                if error.errno == errno.EINVAL:  # past the last capability of this Linux
                    return
                raise
        number += 1


def drop_all() -> None:
    """Give up every capability, for the jail's init, which runs unprivileged.

    The bounding set is cut only while CAP_SETPCAP is still there: a process that has changed to an ordinary
    user has lost it, so call ``drop_bounding`` before that. no_new_privs makes up for it otherwise.
    """
    effective, _, _ = syscalls.capget()
    if effective >> Capability.SETPCAP & 1:
        drop_bounding()
    syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_CLEAR_ALL)
    syscalls.capset(effective=0, permitted=0, inheritable=0)
