"""A jail as the supervisor holds it: everything one sandbox owns on this machine, made and given back together."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .jail import build, user_namespace
from .jail import syscalls as sc
from .jail.cgroups import Cgroup, CgroupTree
from .jail.disk import Disk, DiskStore
from .jail.plan import WORKSPACE, JailPlan
from .jail.user_namespace import SLOT_IDS, IdSlots
from .limits import Limits
from .waiting import readable, reap


@dataclass(frozen=True, slots=True)
class JailWorkshop:
    """What jails are made from; one for each supervisor. ``without``: see ``JailPlan.without``."""

    mount_point: Path
    skeletons: Path
    disks: DiskStore
    ids: IdSlots
    cgroups: CgroupTree
    without: tuple[str, ...] = ()


class Jail:
    """The namespaces, root, disk, ids and control group of one sandbox. ``close`` gives all of them back."""

    def __init__(
        self, workshop: JailWorkshop, serial: str, limits: Limits, skeleton: Path, sources: tuple[str, ...]
    ) -> None:
        self._workshop = workshop
        self.serial = serial
        self.limits = limits
        self._skeleton = skeleton
        self._sources = sources
        self._building: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._init_pid = 0
        self._lifeline = -1
        self.init_pidfd = -1
        self.userns = -1
        self.owner = -1
        self._cgroup: Cgroup | None = None
        self._disk: Disk | None = None
        self.plan: JailPlan

    def __repr__(self) -> str:
        state = "closed" if self._closing else "open" if self._init_pid else "new"
        return f"<Jail {self.serial} {state} init={self._init_pid}>"

    async def open(self) -> None:
        """Build it. Raises build.JailError or OSError; whatever had been made by then is given back."""
        try:
            await self._open()
        except BaseException:
            await self.close()
            raise

    async def _open(self) -> None:
        workshop, limits = self._workshop, self.limits
        self.owner = workshop.ids.take()
        self._cgroup = workshop.cgroups.create(self.serial, limits)
        self._disk = workshop.disks.create(limits.disk_mib, limits.inodes)
        self.userns = user_namespace.create(self.owner)
        self.plan = JailPlan(
            mount_point=str(workshop.mount_point),
            disk=self._disk.path,
            skeleton=str(self._skeleton),
            sources=self._sources,
            owner=self.owner,
            init_owner=self.owner + SLOT_IDS - 1,
            cgroup_procs=() if "cgroup" in workshop.without else self._cgroup.procs_files,
            without=workshop.without,
        )
        # Shielded: whoever is cancelled in the middle must still find, in ``close``, what there is to end.
        self._building = asyncio.ensure_future(self._build())
        await asyncio.shield(self._building)

    async def _build(self) -> None:
        building = build.start(self.plan, self.userns)
        await readable(building.status_fd)
        while not building.advance():
            await readable(building.status_fd)
        self._init_pid = building.finish()
        self._lifeline = building.lifeline
        self.init_pidfd = os.pidfd_open(self._init_pid)

    def open_workspace(self) -> int:
        """A new descriptor of the workspace directory, for the service's file routes."""
        path = f"/proc/{self._init_pid}/root/{WORKSPACE.lstrip('/')}"
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def update(self, limits: Limits) -> None:
        """Change the limits of memory, cpu and pids while it lives."""
        assert self._cgroup is not None  # noqa: S101 - callers hold an open jail
        self._cgroup.update(limits)
        self.limits = limits

    @property
    def cgroup(self) -> Cgroup:
        """Its control group."""
        assert self._cgroup is not None  # noqa: S101 - callers hold an open jail
        return self._cgroup

    def kill_processes(self) -> None:
        """Kill what runs inside, but not pid 1: the files and namespaces stay for the next kernel."""
        self.cgroup.kill(spare=self._init_pid)

    async def close(self) -> None:
        """End every process inside and give everything back. Idempotent; concurrent calls wait for the one close."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self._building is not None:
            await asyncio.wait({self._building})
        if self._init_pid:
            with suppress(ProcessLookupError):
                sc.pidfd_send_signal(self.init_pidfd, signal.SIGKILL)
            await reap(self._init_pid, self.init_pidfd)
            os.close(self.init_pidfd)
            os.close(self._lifeline)
        if self._cgroup is not None:
            await self._cgroup_gone(self._cgroup)
        if self._disk is not None:
            self._disk.close()
        if self.userns >= 0:
            os.close(self.userns)
        if self.owner >= 0:
            self._workshop.ids.give_back(self.owner)

    @staticmethod
    async def _cgroup_gone(cgroup: Cgroup) -> None:
        """Linux lets go of a group some moments after its last process ended, and tells nobody: ask again."""
        pause = 0.001
        while not cgroup.remove():
            cgroup.kill()  # what was on its way in when the jail ended
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.1)
