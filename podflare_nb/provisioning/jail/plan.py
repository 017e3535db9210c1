"""What the supervisor tells about a jail to those who build it and enter it: plain data, sent as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

BRANCH_ROOT = "/b"
"""Where a jail's branches stand, each a root of its own; a kernel is chrooted into its branch."""
WORKSPACE = "/workspace"
HOST = "/.host"
"""What the jail keeps for composing roots: outside of every branch."""


@dataclass(frozen=True, slots=True)
class JailPlan:
    """One jail.

    ``mount_point``: an empty directory of the host; ``disk``: the block device of the sandbox's own file system
    (ext4); ``skeleton`` and ``sources``: what the sandbox sees underneath its own overlay, the skeleton at the root,
    each source at its own path; ``owner``: the host id that is root inside, user and group; ``init_owner``: the
    unprivileged id of the jail's pid 1, which nobody inside has; ``cgroup_procs``: files to write a pid to.
    ``without``: layers left out, for the negative controls of attack tests; nothing a user sends gets here.
    """

    mount_point: str
    disk: str
    skeleton: str
    sources: tuple[str, ...]
    owner: int
    init_owner: int
    cgroup_procs: tuple[str, ...]
    hostname: str = "sandbox"
    branch: str = "0"
    shm_mib: int = 512
    nofile: int = 8192
    without: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As it travels."""
        return asdict(self)

    @classmethod
    def from_json(cls, plan: dict[str, Any]) -> JailPlan:
        """As it arrives, in the template."""
        tuples = {name: tuple(plan[name]) for name in ("sources", "cgroup_procs", "without")}
        return cls(**{**plan, **tuples})
