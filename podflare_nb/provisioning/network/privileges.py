"""What gateway and mirror give up before they read a byte of a sandbox.

Afterwards it can neither gain a privilege nor enter a namespace; code that took it over could speak to the network as
the namespaces of its threads let it, and read what the configured user may read.
Does not: hide the file system, filter system calls.
"""

from __future__ import annotations

import os
import resource

from ..jail import capabilities, syscalls


def forgo_new() -> None:
    """Nothing that is executed grants a privilege. Before threads are started: they inherit it."""
    syscalls.set_no_new_privs()
    if os.geteuid() == 0:
        capabilities.drop_bounding()


def become(uid: int, gid: int) -> None:
    """Be an ordinary user with no capability, in all threads (setresuid(2) by libc), whom nobody may trace.

    Raises ValueError for root's ids.
    """
    if uid <= 0 or gid <= 0:
        raise ValueError("gateway and mirror run as an ordinary user: uid and gid must be above 0")
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    capabilities.drop_all()
    syscalls.set_dumpable(dumpable=False)


def raise_descriptor_limit() -> int:
    """Take as many descriptors as we may; how many that is."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most
