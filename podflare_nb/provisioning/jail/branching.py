"""The files of a fork, made inside a jail's mount namespace: freezes what the parent wrote and composes every new root.

Each root is told as soon as it stands, the parent's first: without it no other may be used, as the parent would go on
to write to what the others have below them. Stands on ``branch_roots`` and ``frozen_layers``; ``inside`` runs it in a
process that may be killed at any moment, after which ``discard`` clears away what there is.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from . import branch_roots, frozen_layers
from . import syscalls as sc
from .branch_roots import SHM, Origin
from .plan import BRANCH_ROOT, HOST, JailPlan, Stack

Tell = Callable[[dict[str, Any], Sequence[int]], None]
"""Send an object, with descriptors, to the supervisor."""


@dataclass(frozen=True, slots=True)
class NewBranch:
    """A branch that is to be. ``cgroup_procs``: the group that what it holds in memory is counted to, as files of the
    host that who joins it writes ``0`` to."""

    name: str
    cgroup_procs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ForkOrder:
    """One fork.

    ``stack``: the parent's. Either ``successor`` names the root, and the layer, that it goes on with, and what it wrote
    is frozen; or ``copied`` names a layer to copy that into, since others use the parent's root, too. ``renewed``:
    trees whose layers below are not those that it has mounted. ``asleep``: the children are checkpoints.
    """

    parent: str
    stack: Stack
    children: Sequence[NewBranch]
    successor: str = ""
    copied: str = ""
    renewed: frozenset[str] = frozenset()
    asleep: bool = False


class Branching:
    """One fork's files. ``host``: a descriptor of the host's root directory, below which control groups are."""

    def __init__(self, plan: JailPlan, tell: Tell, host: int) -> None:
        self._plan = plan
        self._tell = tell
        self._host = host
        self._keys = frozenset(tree.key for tree in plan.trees)

    def fork(self, order: ForkOrder) -> None:
        """Tells ``{"written": {key: layer}}``: what is below from now on. Then ``{"root": name}`` for each branch, with
        a descriptor (none for the parent if it wrote nothing, or stays; no descriptor for a checkpoint), or
        ``{"failed": name, "error", "errno"}``. Raises OSError if the parent's files cannot be frozen.
        """
        dirty = self._keys - branch_roots.blank_trees(self._plan, order.stack)
        written = {key: order.copied or order.stack.upper[key] for key in sorted(dirty)}
        if order.copied:
            for key in written:
                frozen_layers.copy(order.stack.upper[key], order.copied, key)
        self._tell({"written": written}, ())
        below = order.stack.frozen(written)
        if order.successor and dirty:
            self._tell_root(order.successor, self._successor(order, below, dirty))
        with branch_roots.opened(f"{BRANCH_ROOT}/{order.parent}/{SHM}") as shm:
            for child in order.children:
                with self._attempt(child):
                    if order.asleep:
                        self._keep_shm(child, shm)
                        self._tell({"root": child.name}, ())
                    else:
                        self._tell_root(child.name, self._child(child, below.topped(order.stack.upper), shm))

    def wake(self, child: NewBranch, checkpoint: str, below: Stack) -> None:
        """Compose a root for a fork of a checkpoint. Tells as ``fork``."""
        tops = {key: layers[0] for key, layers in below.below.items() if layers}
        place = f"{HOST}/shm-{checkpoint}"
        with self._attempt(child), ExitStack() as opened:
            there = os.path.isdir(place)  # noqa: PTH112 - strings, as everywhere under ``jail``
            shm = opened.enter_context(branch_roots.opened(place)) if there else None
            self._tell_root(child.name, self._child(child, below.topped(tops), shm))

    def _successor(self, order: ForkOrder, below: Stack, dirty: frozenset[str]) -> int:
        """The parent's next root. What nothing was written to it has in common with the one before."""
        fresh = dirty | order.renewed
        branch_roots.make_layer(self._plan, order.successor, order.stack.upper, fresh)
        upper = {key: order.successor if key in fresh else layer for key, layer in order.stack.upper.items()}
        origin = Origin(order.parent, keeps=self._keys - fresh, keeps_shm=True)
        return branch_roots.compose(self._plan, order.successor, below.topped(upper), origin)

    def _child(self, child: NewBranch, parent: Stack, shm: int | None) -> int:
        """A root over the layers below the parent, its top as the parent's, and copies of the files in /dev/shm."""
        branch_roots.make_layer(self._plan, child.name, parent.upper, self._keys)
        root = branch_roots.compose(self._plan, child.name, parent.topped(dict.fromkeys(self._keys, child.name)))
        if shm is not None and _names(shm):
            with branch_roots.opened(f"{BRANCH_ROOT}/{child.name}/{SHM}") as target:
                self._copy_files(shm, target, child)
        return root

    def _keep_shm(self, checkpoint: NewBranch, shm: int) -> None:
        """Keep copies of the files in /dev/shm for when a checkpoint wakes; as a rule there are none."""
        if not _names(shm):
            return
        place = f"{HOST}/shm-{checkpoint.name}"
        os.mkdir(place)  # noqa: PTH102 - strings, as everywhere under ``jail``
        branch_roots.mount_shm(self._plan, place)
        with branch_roots.opened(place) as target:
            self._copy_files(shm, target, checkpoint)

    @contextmanager
    def _attempt(self, child: NewBranch) -> Iterator[None]:
        """What fails here concerns this child only."""
        try:
            yield
        except OSError as error:
            self._tell({"failed": child.name, "error": error.strerror or str(error), "errno": error.errno}, ())

    def _tell_root(self, name: str, root: int) -> None:
        """Tell that it stands, and give up our descriptor."""
        try:
            self._tell({"root": name}, (root,))
        finally:
            os.close(root)

    def _copy_files(self, source: int, target: int, owner: NewBranch) -> None:
        """Copy the regular files of one /dev/shm to another, in a process of the group that is to pay for it."""
        pid = os.fork()
        if pid == 0:
            status = errno.EIO
            try:
                sc.set_parent_death_signal(signal.SIGKILL)
                for path in owner.cgroup_procs:
                    with frozen_layers.opened(path.lstrip("/"), os.O_WRONLY, self._host) as procs:
                        os.write(procs, b"0")
                for name in _names(source):
                    if stat.S_ISREG(os.stat(name, dir_fd=source, follow_symlinks=False).st_mode):
                        frozen_layers.copy_file(source, name, target)
                status = 0
            except OSError as error:
                status = error.errno or errno.EIO
            finally:
                os._exit(status)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code:
            number = code if code > 0 else errno.ENOMEM  # killed: its group has not enough memory
            raise OSError(number, f"its shared memory could not be copied ({os.strerror(number)})")


def _names(directory: int) -> list[str]:
    listed = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        return os.listdir(listed)  # noqa: PTH208 - a descriptor
    finally:
        os.close(listed)


def discard(branches: Iterable[str], layers: Iterable[str]) -> None:
    """Remove roots and layers that nobody uses; those that are not there are no failure."""
    for branch in branches:
        branch_roots.remove_root(branch)
        branch_roots.remove_mount(f"{HOST}/shm-{branch}")
    for layer in layers:
        frozen_layers.remove(layer)
