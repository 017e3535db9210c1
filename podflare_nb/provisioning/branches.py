"""One branch's place in its jail: a control group, a root, the layers that it is made of."""

from __future__ import annotations

import asyncio
import os
from typing import Self

from .control_group import ControlGroup
from .jail import syscalls as sc
from .jail.branching import NewBranch
from .jail.build import FIRST
from .jail.plan import WORKSPACE, EntryPlan, Stack
from .jails import Jail
from .limits import Limits


class Branch:
    """A member of a jail in which a kernel lives, or is to. ``end`` gives back all that is its own."""

    def __init__(self, jail: Jail, name: str, limits: Limits) -> None:
        """Raises OSError if no control group can be made."""
        self.jail = jail
        self.name = name
        self.limits = limits
        self.stack = Stack()
        self.root = -1
        self.group = ControlGroup(jail.new_cgroup(name, limits))
        self.entering = asyncio.Lock()
        """Held by whoever lets a process in beside the kernel, and while a fork may give the branch another root: a
        process that entered the root before would go on to write to what the fork has frozen."""
        self._ending: asyncio.Task[None] | None = None
        jail.join(self)

    def __repr__(self) -> str:
        return f"<Branch {self.name} of {self.jail!r}>"

    @classmethod
    def first(cls, jail: Jail) -> Self:
        """The branch that a jail was built with. Raises OSError."""
        branch = cls(jail, FIRST, jail.limits)
        branch.settle(Stack({tree.key: FIRST for tree in jail.plan.trees}), jail.open_first_root())
        return branch

    def settle(self, stack: Stack, root: int) -> None:
        """Its files are these from now on; ``root``: a descriptor of its root directory, which is this object's now."""
        if self.root >= 0:
            os.close(self.root)
        self.stack, self.root = stack, root
        self.jail.files.hold(self, stack)

    def as_new(self) -> NewBranch:
        """For the order to compose it."""
        return NewBranch(self.name, self.group.cgroup.join_files)

    def entry_plan(self) -> EntryPlan:
        """How a template's child enters it."""
        without = self.jail.without
        return EntryPlan(() if "cgroup" in without else self.group.cgroup.join_files, without=without)

    def entry_fds(self) -> list[int]:
        """What ``jail.enter`` needs beside it."""
        return [self.jail.init_pidfd, self.jail.userns, self.root]

    def open_workspace(self) -> int:
        """A new descriptor of the workspace directory, for the service's file routes. Raises OSError: the user may have
        removed it. A link that stands in its place leads nowhere but into the branch itself."""
        flags = os.O_RDONLY | os.O_DIRECTORY
        bounds = sc.RESOLVE_IN_ROOT | sc.RESOLVE_NO_MAGICLINKS
        return sc.openat2(WORKSPACE, flags, resolve=bounds, dir_fd=self.root)

    def update(self, limits: Limits) -> None:
        """Change the limits of memory, cpu and pids while it lives."""
        self.group.cgroup.update(limits)
        self.limits = limits

    async def end(self) -> None:
        """End every process in it and give it back, and the jail with its last member. Idempotent."""
        if self._ending is None:
            self._ending = asyncio.ensure_future(self._end())
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        if self.jail.leave(self):
            await self.jail.close()
        await self.group.end()
        if self.root >= 0:
            os.close(self.root)
            self.root = -1
        self.jail.files.give_up(self, self.name)
