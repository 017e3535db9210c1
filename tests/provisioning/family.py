"""A real jail without kernels, for tests of what is forked beside them: its branches' files, seen from the host."""

# ruff: noqa: ASYNC240, PTH208 - a jail's own directories

import asyncio
import os
import shutil
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from podflare_nb.protocol.egress import OFF
from podflare_nb.provisioning.branches import Branch
from podflare_nb.provisioning.errands import all_reaped
from podflare_nb.provisioning.fork_files import ForkFiles
from podflare_nb.provisioning.jail import syscalls as sc
from podflare_nb.provisioning.jail.branching import NewBranch
from podflare_nb.provisioning.jail.cgroups import CgroupTree
from podflare_nb.provisioning.jail.disk import DiskStore
from podflare_nb.provisioning.jail.plan import BRANCH_ROOT, LAYERS
from podflare_nb.provisioning.jail.user_namespace import IdSlots
from podflare_nb.provisioning.jail_maker import JailMaker
from podflare_nb.provisioning.jails import JailWorkshop
from podflare_nb.provisioning.limits import Limits

SOURCE = f"/opt/podflare-nb-test-{os.getpid()}/source"  # of this process: others test beside it
"""A directory of the host that sandboxes see, two below one that they may move."""
SECONDS = 60


class NoNetworks:
    """Of jails whose files are all that is looked at."""

    def default(self, _):
        return OFF

    def open(self, *_):
        return None


@asynccontextmanager
async def workshop():
    """What jails are made from; at the end nothing is left of it."""
    work = Path(tempfile.mkdtemp(prefix="pfnb-", dir="/var/tmp"))
    Path(SOURCE).mkdir(parents=True, exist_ok=True)
    Path(SOURCE, "given").write_text("by the host")
    for name in ("disks", "root"):
        (work / name).mkdir()
    ids, cgroups = IdSlots(work / "ids"), CgroupTree.open(f"test-{work.name}")
    sc.set_child_subreaper()
    try:
        yield JailMaker(JailWorkshop(work / "root", work, DiskStore(work / "disks"), ids, cgroups, NoNetworks()))
    finally:
        await all_reaped()
        sc.set_child_subreaper(enabled=False)
        assert cgroups.remove()
        ids.close()
        shutil.rmtree(work)
        shutil.rmtree(Path(SOURCE).parent)


async def first_branch(maker, **limits):
    """A new jail's first branch."""
    return await maker.build(("/usr", SOURCE), Limits(**{"disk_mib": 64, "inodes": 4000, **limits}), None)


@dataclass
class Child:
    """Stands for a birth: what a child is told of its files."""

    files: asyncio.Future = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def has_files(self, stack, root=-1):
        self.files.set_result((stack, root))

    def fails(self, error):
        if not self.files.done():
            self.files.set_exception(error)
            self.files.exception()


async def fork(parent: Branch, n=1, *, copied=False, asleep=False):
    """Fork the files of a branch, as ``live_fork`` does; the children. Raises what the first of them is told."""
    jail = parent.jail
    if asleep:
        orders = {NewBranch(jail.files.new_name(), parent.group.cgroup.join_files): Child() for _ in range(n)}
    else:
        branches = [Branch(jail, jail.files.new_name(), parent.limits) for _ in range(n)]
        orders = {branch.as_new(): Child() for branch in branches}
    files = ForkFiles(parent, orders, copied=copied, asleep=asleep)
    async with asyncio.timeout(SECONDS):
        await files.compose()
    try:
        before, move = parent.name, files.take()
        if move is not None:
            parent.settle(move.stack, move.root)
            parent.name = move.name
            jail.files.clear_away(before)
        told = [child.files.result() for child in orders.values()]
        if asleep:
            return told
        for branch, (stack, root) in zip(branches, told, strict=True):
            branch.settle(stack, root)
    except BaseException:
        if not asleep:
            await asyncio.gather(*(branch.end() for branch in branches))
        raise
    finally:
        files.release()
    jail.files.keep_low(parent.stack)
    return branches


async def quiet(jail):
    """Wait for the end of all chores."""
    async with asyncio.timeout(SECONDS):
        while jail.files._chores:
            await asyncio.gather(*jail.files._chores)


def write(branch, path, text="x", mode=0o644):
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode, dir_fd=branch.root)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def read(branch, path):
    with os.fdopen(os.open(path, os.O_RDONLY, dir_fd=branch.root)) as file:
        return file.read()


def listing(branch, path="workspace"):
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY, dir_fd=branch.root)
    try:
        return sorted(os.listdir(descriptor))
    finally:
        os.close(descriptor)


def exists(branch, path):
    try:
        os.stat(path, dir_fd=branch.root, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


async def inside(jail, look):
    """What ``look`` gives (as JSON) in the jail's mount namespace."""

    def work(tell, _host):
        tell({"seen": look()}, ())

    async with jail.errand(work) as errand:
        return (await anext(errand)).body["seen"]


async def on_disk(jail):
    """The layers that are on its disk, and the branches' roots that stand."""
    return await inside(
        jail, lambda: [sorted(set(os.listdir(LAYERS)) - {"lost+found"}), sorted(os.listdir(BRANCH_ROOT))]
    )


async def tree_of(jail, layer):
    """Every name in a layer with its kind, size and time, to see whether anything is changed."""

    def look():
        found = []
        for directory, names, files in os.walk(f"{LAYERS}/{layer}/r"):
            for name in (*names, *files):
                status = os.lstat(f"{directory}/{name}")
                found.append([f"{directory}/{name}", status.st_mode, status.st_size, status.st_mtime_ns])
        return sorted(found)

    return await inside(jail, look)
