"""A jail as the supervisor holds it: what a family of branches shares on this machine, made and given back together."""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import signal
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..protocol.egress import Egress
from .errands import Errand
from .family_files import FamilyFiles
from .jail import build, inside, user_namespace
from .jail import syscalls as sc
from .jail.build import FIRST
from .jail.cgroups import Cgroup, CgroupTree
from .jail.disk import Disk, DiskStore
from .jail.plan import BRANCH_ROOT, Installed, JailPlan
from .jail.user_namespace import SLOT_IDS, IdSlots
from .limits import Limits
from .network.networks import Networks
from .network.sandbox_network import SandboxNetwork
from .waiting import readable, reap

DISK_LOOKS, DISK_LOOK_SECONDS = 500, 0.02
"""How often, and how far apart, to look whether a disk is still mounted, which Linux tells nobody."""


@dataclass(frozen=True, slots=True)
class JailWorkshop:
    """What jails are made from; one for each supervisor. ``without``: see ``JailPlan.without``."""

    mount_point: Path
    skeletons: Path
    disks: DiskStore
    ids: IdSlots
    cgroups: CgroupTree
    networks: Networks
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What a jail shows below all that its branches write: see ``JailPlan``."""

    skeleton: Path
    sources: tuple[str, ...]
    installed: Installed | None = None


class Resident(Protocol):
    """A kernel that lives in a jail: ``supervised_kernel.SupervisedKernel``."""

    def change_environment(self) -> None:
        """The network is another one now."""


class Jail:
    """The namespaces, disk and ids of one family of branches; ends with its last member."""

    def __init__(
        self, workshop: JailWorkshop, serial: str, limits: Limits, seen: Seen, image: Path | None = None
    ) -> None:
        """``image``: the file that its disk is to be in, to be kept."""
        self._workshop = workshop
        self.serial = serial
        self.family = secrets.token_hex(8)
        self.limits = limits
        self._seen = seen
        self._image = image
        self._building: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._init_pid = 0
        self._lifeline = -1
        self.init_pidfd = -1
        self.userns = -1
        self.network = -1
        """Its network namespace."""
        self.networking: SandboxNetwork | None = None
        """What it may reach; None where it has no network of its own, for a negative control."""
        self.owner = -1
        self._disk: Disk | None = None
        self.plan: JailPlan
        self.files = FamilyFiles(lambda work: self.errand(work, in_background=True))
        self.kernels: set[Resident] = set()
        """Those that live in it."""
        self._members: set[Hashable] = set()
        self._claimed: set[int] = set()

    def __repr__(self) -> str:
        state = "closed" if self._closing else "open" if self._init_pid else "new"
        return f"<Jail {self.serial} {state} init={self._init_pid} members={len(self._members)}>"

    async def open(self, egress: Egress) -> None:
        """Build it, able to reach this at first. Raises build.JailError, OSError or NoCapacityError; whatever had been
        made by then is given back."""
        try:
            await self._open(egress)
        except BaseException:
            await self.close()
            raise

    async def _open(self, egress: Egress) -> None:
        workshop, limits = self._workshop, self.limits
        self.owner = workshop.ids.take()
        self._disk = workshop.disks.create(limits.disk_mib, limits.inodes, self._image)
        self.userns = user_namespace.create(self.owner)
        self.plan = JailPlan(
            mount_point=str(workshop.mount_point),
            disk=self._disk.path,
            skeleton=str(self._seen.skeleton),
            sources=self._seen.sources,
            installed=self._seen.installed,
            owner=self.owner,
            init_owner=self.owner + SLOT_IDS - 1,
            without=workshop.without,
        )
        # Shielded: whoever is cancelled in the middle must still find, in ``close``, what there is to end.
        self._building = asyncio.ensure_future(self._build(egress))
        await asyncio.shield(self._building)

    async def _build(self, egress: Egress) -> None:
        building = build.start(self.plan, self.userns)
        await readable(building.status_fd)
        while not building.advance():
            await readable(building.status_fd)
        self._init_pid = building.finish()
        self._lifeline = building.lifeline
        self.init_pidfd = os.pidfd_open(self._init_pid)
        self.network = os.open(f"/proc/{self._init_pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        if "net" not in self.without:
            self.networking = self._workshop.networks.open(self.network, egress)

    @property
    def without(self) -> tuple[str, ...]:
        """Layers left out, for a negative control."""
        return self._workshop.without

    @property
    def lives(self) -> bool:
        """Whether pid 1 does: without it nothing can be started inside."""
        return os.waitid(os.P_PIDFD, self.init_pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def new_cgroup(self, name: str, limits: Limits) -> Cgroup:
        """A control group for a member. Raises OSError."""
        return self._workshop.cgroups.create(f"{self.serial}-{name}", limits)

    def open_first_root(self) -> int:
        """The root of the branch that it was built with. By its pid 1, which sees itself in a directory of the jail's
        own; nothing on the way is any sandbox's to change."""
        return os.open(f"/proc/{self._init_pid}/root/../..{BRANCH_ROOT}/{FIRST}", os.O_PATH | os.O_CLOEXEC)

    def claim(self, pid: int) -> bool:
        """Note that a process is a member's. False if it is somebody else's already, or none of this jail's."""
        if pid in self._claimed:
            return False
        with suppress(OSError):
            inside = Path(f"/proc/{pid}/ns/pid").readlink() == Path(f"/proc/{self._init_pid}/ns/pid").readlink()
            if inside:
                self._claimed.add(pid)
            return inside
        return False

    def disclaim(self, pid: int) -> None:
        """It has ended."""
        self._claimed.discard(pid)

    def errand(self, work: inside.Work, *, in_background: bool = False) -> Errand:
        """Work in its mount namespace. Raises OSError if it has ended."""
        if self._closing is not None:
            raise ProcessLookupError(errno.ESRCH, "the sandbox has ended")
        return Errand(self.init_pidfd, work, in_background=in_background)

    async def let_go_of_disk(self) -> bool:
        """After its end: wait until its disk is no longer mounted. False: it still is."""
        for _ in range(DISK_LOOKS):
            if self._disk is None or not self._disk.in_use:
                return True
            await asyncio.sleep(DISK_LOOK_SECONDS)
        return False

    def join(self, member: Hashable) -> None:
        """It has one member more, for which it lives on."""
        self._members.add(member)

    def leave(self, member: Hashable) -> bool:
        """A member is about to end. True for the last one: ``close`` it, and all is gone."""
        self._members.discard(member)
        return not self._members

    async def close(self) -> None:
        """End every process inside and give everything back. Idempotent; concurrent calls wait for the one close."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self._building is not None:
            await asyncio.wait({self._building})
        await self.files.close()
        if self._init_pid:
            with suppress(ProcessLookupError):
                sc.pidfd_send_signal(self.init_pidfd, signal.SIGKILL)
            await reap(self._init_pid, self.init_pidfd)
            os.close(self.init_pidfd)
            os.close(self._lifeline)
        if self.networking is not None:
            self.networking.close()
        if self.network >= 0:
            os.close(self.network)
            self.network = -1
        if self._disk is not None:
            self._disk.close()
        if self.userns >= 0:
            os.close(self.userns)
        if self.owner >= 0:
            self._workshop.ids.give_back(self.owner)
