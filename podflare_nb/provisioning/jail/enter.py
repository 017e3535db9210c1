"""Into the jail: what a freshly forked child of a template does before it may become a kernel, or a terminal's command.

From here on the child is the tenant's. In this order, each step resting on the ones before:

1. its own control group: whatever it allocates, forks or burns counts to the sandbox and ends at its limits;
2. the jail's namespaces, by its pid 1: other mounts, networks, ipc objects and host names do not exist for it; nor do
   other processes, since the template chose the jail's pid namespace for it before the fork;
3. a new user namespace: root inside is an unprivileged id of the host that nobody else has; all power it has over
   anything outside of this namespace is that id's, which is none;
4. the branch's root, by chroot: the other roots of its own session are the most that an escape could reach;
5. capabilities: the file ones and CAP_SYS_CHROOT, for good (bounding set);
6. no_new_privs: setuid programs give nothing;
7. resource limits, an own session, /dev/null for the standard streams: nothing that was inherited leads outside;
8. seccomp, last, because the steps above need what it forbids.

What it does not block: see the package's docstring.
"""

from __future__ import annotations

import os
import resource
from typing import Any

from . import capabilities, seccomp
from . import syscalls as sc
from .build import NAMESPACES
from .plan import WORKSPACE, EntryPlan

OOM_SCORE_ADJUSTMENT = 500
"""When the whole machine is short of memory, a sandbox goes before the service does."""


def enter(plan_json: dict[str, Any], rest: list[int]) -> None:
    """Become a process of the jail; returns only there. ``rest``: a pidfd of the jail's pid 1, its user namespace, the
    branch's root directory.

    Raises OSError naming the step that failed; the caller must then end the process.
    """
    plan = EntryPlan.from_json(plan_json)
    init, userns, root = rest
    for path in plan.cgroup_procs:
        _write(path, "0")
    _write("/proc/self/oom_score_adj", str(OOM_SCORE_ADJUSTMENT))
    sc.setns(init, NAMESPACES & ~sc.CLONE_NEWPID)
    os.setsid()
    if "keyring" not in plan.without:
        sc.join_new_session_keyring()
    if "user" not in plan.without:
        sc.setns(userns, sc.CLONE_NEWUSER)
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    os.fchdir(root)
    os.chroot(".")
    os.chdir(WORKSPACE)
    _limit_resources(plan)
    _forget_standard_streams()
    for fd in rest:
        os.close(fd)
    if "capabilities" not in plan.without:
        capabilities.keep_kernel_set()
    if "no_new_privs" not in plan.without:
        sc.set_no_new_privs()
    if "seccomp" not in plan.without:
        seccomp.install(seccomp.program())
    # Changing ids made this process undumpable, its /proc/self the host root's; to trace its own kin is its right, but
    # only from here on: before, one of them could have kept it from being filtered.
    sc.set_dumpable(dumpable=True)


def _limit_resources(plan: EntryPlan) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (plan.nofile, plan.nofile))
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (8 << 20, 8 << 20))


def _forget_standard_streams() -> None:
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd in range(3):
        os.dup2(null, fd)
    os.close(null)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
