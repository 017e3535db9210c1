"""What the supervisor tells about a jail to those who build it and enter it, and what a branch's files are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

BRANCH_ROOT = "/b"
"""Where a jail's branches stand, each a root of its own; a kernel is chrooted into its branch."""
WORKSPACE = "/workspace"
HOST = "/.host"
"""What the jail keeps for composing roots: outside of every branch, and open to the host's root only."""
LAYERS = f"{HOST}/d"
"""Where the sandbox's disk is mounted; each directory in it is a layer. Short: it stands in every mount's options."""
INSTALLED = f"{HOST}/i"
"""Where the disk with a template's system packages is, and beside it with a tree's key what these changed there."""
TREES = "trees"
"""The directory of that disk that has them."""
PERSONAL = ("/root", "/tmp", WORKSPACE)  # noqa: S108 - the sandbox's, not the host's
"""What belongs to the sandbox's user, to list, compare and clear."""


def place(source: str) -> str:
    """Where a source is mounted: at its own path, unless the operator has it in a directory that is ``PERSONAL`` here.

    A Python in ``~/.pyenv`` would be thousands of files in the sandbox's home, for whoever walks through that. So it
    is mounted beside, in ``/.root``, and its own path is a link to there (``skeleton``). At the same depth, and with
    its neighbours: links of the tree that lead upwards and out of it lead where they did.
    """
    top, _, below = source[1:].partition("/")
    return f"/.{top}/{below}" if below and f"/{top}" in PERSONAL else source


@dataclass(frozen=True, slots=True)
class Tree:
    """One writable tree of each branch: an overlay at ``path`` over ``lower``, the highest first, of which the last is
    the host's (``base``). ``key`` names it in every layer."""

    key: str
    path: str
    lower: tuple[str, ...]

    @property
    def base(self) -> str:
        """What of the host it shows."""
        return self.lower[-1]


@dataclass(frozen=True, slots=True)
class Installed:
    """A template's system packages: what they changed, tree by tree (``keys``), in an ext4 on the block device
    ``device``, with the ids that are seen inside (``installed_layer``)."""

    device: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JailPlan:
    """One jail, for those who build in it.

    ``mount_point``: an empty directory of the host; ``disk``: the block device of the sandbox's own file system
    (ext4); ``skeleton`` and ``sources``: what the sandbox sees underneath its own overlay, the skeleton at the root,
    each source in its ``place``; ``installed``: what lies over these, below every overlay; ``owner``: the host id that
    is root inside, user and group; ``init_owner``: the unprivileged id of the jail's pid 1, which nobody inside has.
    ``without``: layers left out, for the negative controls of attack tests; nothing a user sends gets here.
    """

    mount_point: str
    disk: str
    skeleton: str
    sources: tuple[str, ...]
    owner: int
    init_owner: int
    hostname: str = "sandbox"
    shm_mib: int = 512
    installed: Installed | None = None
    without: tuple[str, ...] = ()

    @property
    def trees(self) -> tuple[Tree, ...]:
        """The writable trees of a branch, the one at the root first."""
        numbered = enumerate(self.sources)
        bases = [("r", "", f"{HOST}/skeleton"), *((str(n), place(path), f"{HOST}/{n}") for n, path in numbered)]
        installed = self.installed.keys if self.installed else ()
        return tuple(
            Tree(key, path, (f"{INSTALLED}{key}", base) if key in installed else (base,)) for key, path, base in bases
        )


@dataclass(frozen=True, slots=True)
class EntryPlan:
    """How a kernel forked from a template enters; sent as JSON. ``cgroup_procs``: files to write ``0`` to."""

    cgroup_procs: tuple[str, ...]
    nofile: int = 8192
    without: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As it travels."""
        return asdict(self)

    @classmethod
    def from_json(cls, plan: dict[str, Any]) -> EntryPlan:
        """As it arrives, in the template."""
        tuples = {name: tuple(plan[name]) for name in ("cgroup_procs", "without")}
        return cls(**{**plan, **tuples})


@dataclass(frozen=True, slots=True)
class Stack:
    """What a branch's files are made of, by tree.

    ``upper``: the layer that it writes to (none in a checkpoint); ``below``: frozen layers, the newest first.
    """

    upper: Mapping[str, str] = field(default_factory=dict)
    below: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def frozen(self, written: Mapping[str, str]) -> Stack:
        """What a fork of it has below: these layers, by tree, over those that were there. Without an upper."""
        return Stack({}, {
            key: ((written[key],) if key in written else ()) + self.below.get(key, ()) for key in self.upper
        })  # fmt: skip

    def topped(self, upper: Mapping[str, str]) -> Stack:
        """With other uppers over the same layers."""
        return Stack(dict(upper), self.below)

    def layers(self) -> set[str]:
        """All that it needs on the disk."""
        return {*self.upper.values(), *(layer for layers in self.below.values() for layer in layers)}

    def directories(self, plan: JailPlan) -> dict[str, list[str]]:
        """Mount point -> directories of its layers, the top first, the base last: for ``overlay_changes.compare``."""
        found = {}
        for tree in plan.trees:
            top = [self.upper[tree.key]] if tree.key in self.upper else []
            layers = [f"{LAYERS}/{layer}/{tree.key}" for layer in (*top, *self.below.get(tree.key, ()))]
            found[tree.path or "/"] = [*layers, *tree.lower]
        return found
