"""The files of a fork, in a real jail without a kernel: apart, whatever their number, and gone when they end."""

# ruff: noqa: PTH208 - descriptors, and a jail's own directories

import asyncio
import contextlib
import os
import random
import shutil
import stat
from pathlib import Path

import pytest
import pytest_asyncio

from podflare_nb.errors import ConflictError, NoCapacityError
from podflare_nb.provisioning import awakening, layer_book
from podflare_nb.provisioning.fork_files import FULL_DISK, ForkFiles
from podflare_nb.provisioning.jail.branching import NewBranch
from podflare_nb.provisioning.layer_book import FAN

from .family import (
    SOURCE,
    Child,
    exists,
    first_branch,
    fork,
    inside,
    listing,
    on_disk,
    quiet,
    read,
    tree_of,
    workshop,
    write,
)

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(os.geteuid() != 0, reason="jails need root"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def maker():
    async with workshop() as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def parent(maker):
    branch = await first_branch(maker)
    yield branch
    await branch.jail.close()
    await branch.end()


async def test_a_child_has_the_files_of_its_parent(parent):
    write(parent, "workspace/note", "before")
    write(parent, "tmp/scratch")
    write(parent, "usr/local/lib/package")
    (child,) = await fork(parent)
    assert read(child, "workspace/note") == "before"
    assert exists(child, "tmp/scratch")
    assert exists(child, "usr/local/lib/package")
    assert read(child, f"{SOURCE.lstrip('/')}/given") == "by the host"
    await child.end()


async def test_after_the_fork_neither_sees_what_the_other_does(parent):
    write(parent, "workspace/kept", "same")
    write(parent, "workspace/removed")
    write(parent, "workspace/changed", "before")
    first, second = await fork(parent, 2)
    os.unlink("workspace/removed", dir_fd=first.root)
    write(parent, "workspace/changed", "by the parent")
    write(second, "workspace/added")
    assert [listing(branch) for branch in (parent, first, second)] == [
        ["changed", "kept", "removed"],
        ["changed", "kept"],
        ["added", "changed", "kept", "removed"],
    ]
    assert [read(branch, "workspace/changed") for branch in (parent, first, second)] == [
        "by the parent",
        "before",
        "before",
    ]
    await asyncio.gather(first.end(), second.end())


async def test_a_frozen_layer_is_never_written_to_again(parent):
    for number in range(20):
        write(parent, f"workspace/file{number}", str(number))
    os.mkdir("workspace/directory", dir_fd=parent.root)
    (frozen,) = set(parent.stack.upper.values())
    (child,) = await fork(parent)
    before = await tree_of(parent.jail, frozen)
    for branch in (parent, child):
        write(branch, "workspace/file1", "changed")
        os.unlink("workspace/file2", dir_fd=branch.root)
        os.chmod("workspace/file3", 0o600, dir_fd=branch.root)
        write(branch, "workspace/directory/new")
        os.rename("workspace/directory", "workspace/renamed", src_dir_fd=branch.root, dst_dir_fd=branch.root)
    assert len(before) > 20
    assert await tree_of(parent.jail, frozen) == before
    assert listing(child, "workspace/renamed") == ["new"]
    await child.end()


async def test_a_line_of_forks_keeps_owners_modes_and_links(parent):
    owner = parent.jail.owner
    write(parent, "workspace/script", mode=0o755)
    os.symlink("script", "workspace/link", dir_fd=parent.root)
    os.chown("workspace/script", owner + 42, owner + 7, dir_fd=parent.root)
    os.chmod("tmp", 0o1770, dir_fd=parent.root)
    line = parent
    for _ in range(3):
        (line,) = await fork(line)
        status = os.stat("workspace/script", dir_fd=line.root)
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (owner + 42, owner + 7, 0o755)
        assert os.readlink("workspace/link", dir_fd=line.root) == "script"
        assert stat.S_IMODE(os.stat("tmp", dir_fd=line.root).st_mode) == 0o1770
        assert os.stat(".", dir_fd=line.root).st_uid == owner


async def test_a_parent_that_wrote_nothing_stays_where_it_is(parent):
    name, stack = parent.name, parent.stack
    (child,) = await fork(parent)
    assert (parent.name, parent.stack) == (name, stack)
    assert child.stack.below == dict.fromkeys(stack.upper, ())
    write(parent, "workspace/later")
    assert listing(child) == []
    await child.end()


async def test_only_trees_that_were_written_to_get_a_layer(parent):
    write(parent, "workspace/note")
    before = dict(parent.stack.upper)
    (child,) = await fork(parent)
    changed = {key for key, layer in parent.stack.upper.items() if layer != before[key]}
    assert changed == {"r"}
    write(parent, "usr/local/later")
    assert not exists(child, "usr/local/later")
    write(child, "usr/local/childs")
    assert not exists(parent, "usr/local/childs")
    await child.end()


async def test_files_are_copied_when_others_go_on_to_write_to_them(parent):
    write(parent, "workspace/note", "at the fork", mode=0o640)
    os.unlink("etc/hostname", dir_fd=parent.root)
    os.mkfifo("workspace/pipe", dir_fd=parent.root)
    name = parent.name
    (child,) = await fork(parent, copied=True)
    assert parent.name == name
    write(parent, "workspace/note", "by a process that stayed")
    assert read(child, "workspace/note") == "at the fork"
    assert not exists(child, "etc/hostname")
    status = os.stat("workspace/note", dir_fd=child.root)
    assert stat.S_IMODE(status.st_mode) == 0o640
    assert stat.S_ISFIFO(os.stat("workspace/pipe", dir_fd=child.root).st_mode)
    await child.end()


async def test_shared_memory_stays_with_the_parent_and_is_copied_for_children(parent):
    write(parent, "workspace/note")
    write(parent, "dev/shm/segment", "shared")
    (child,) = await fork(parent)
    assert read(child, "dev/shm/segment") == read(parent, "dev/shm/segment") == "shared"
    write(child, "dev/shm/segment", "mine")
    assert read(parent, "dev/shm/segment") == "shared"
    await child.end()


async def test_a_checkpoint_keeps_files_and_shared_memory_as_they_were(parent):
    write(parent, "workspace/note", "then")
    write(parent, "dev/shm/segment", "then")
    ((stack, _),) = await fork(parent, asleep=True)
    write(parent, "workspace/note", "now")
    write(parent, "dev/shm/segment", "now")
    woken = await wake(parent, stack)
    assert read(woken, "workspace/note") == "then"
    assert read(woken, "dev/shm/segment") == "then"
    await woken.end()


async def wake(parent, stack):
    jail = parent.jail
    (kept,) = await inside(jail, lambda: [name for name in os.listdir("/.host") if name.startswith("shm-")])

    class Sleeper:
        name = kept.removeprefix("shm-")

    Sleeper.jail, Sleeper.stack = jail, stack
    branch, child = type(parent)(jail, jail.files.new_name(), parent.limits), Child()
    await awakening._compose(Sleeper, branch, child)
    branch.settle(*child.files.result())
    return branch


async def test_a_full_disk_is_told_in_a_sentence_and_the_parent_goes_on(parent):
    write(parent, "workspace/note", "kept")
    full = False
    for number in range(10_000):
        try:
            write(parent, f"workspace/{number}")
        except OSError:
            full = True
            break
    assert full
    name = parent.name
    with pytest.raises(ConflictError) as refused:
        await fork(parent, 3)
    assert refused.value.message == FULL_DISK
    assert (parent.name, read(parent, "workspace/note")) == (name, "kept")
    for number in range(100):
        os.unlink(f"workspace/{number}", dir_fd=parent.root)
    await quiet(parent.jail)
    (child,) = await fork(parent)
    assert read(child, "workspace/note") == "kept"
    await child.end()


async def test_a_child_for_which_there_is_no_room_does_not_fail_the_others(parent):
    write(parent, "workspace/note", "kept")
    written = 0
    with contextlib.suppress(OSError):
        while True:
            write(parent, f"workspace/{written}")
            written += 1
    for number in range(60):  # room for a parent and some children, not for all
        os.unlink(f"workspace/{number}", dir_fd=parent.root)
    jail = parent.jail
    births = {NewBranch(jail.files.new_name()): Child() for _ in range(32)}
    files = ForkFiles(parent, births, copied=False, asleep=False)
    await files.compose()
    move = files.take()
    parent.settle(move.stack, move.root)
    parent.name = move.name
    failed = [child.files.exception() for child in births.values() if child.files.exception() is not None]
    made = [child.files.result()[1] for child in births.values() if child.files.exception() is None]
    for root in made:
        os.close(root)
    files.release()
    assert made
    assert failed
    assert {error.message for error in failed} == {FULL_DISK}
    assert read(parent, "workspace/note") == "kept"


async def test_a_user_who_moved_what_is_mounted_in_is_told(parent):
    write(parent, "workspace/note")
    place = str(Path(SOURCE).parent).lstrip("/")
    os.rename(place, "opt/moved", src_dir_fd=parent.root, dst_dir_fd=parent.root)
    os.symlink("/.host", place, dir_fd=parent.root)
    name = parent.name
    with pytest.raises(NoCapacityError, match=f"{SOURCE} is not where it was"):
        await fork(parent)
    assert parent.name == name


async def test_what_ended_branches_held_is_removed_and_the_family_lives_on(parent):
    write(parent, "workspace/note", "of the first")
    children = await fork(parent, 3)
    grandchildren = [(await fork(child))[0] for child in children]
    await parent.end()
    await asyncio.gather(*(child.end() for child in children))
    assert [read(branch, "workspace/note") for branch in grandchildren] == ["of the first"] * 3
    last = grandchildren.pop()
    await asyncio.gather(*(branch.end() for branch in grandchildren))
    await quiet(last.jail)
    layers, roots = await on_disk(last.jail)
    assert set(layers) == last.stack.layers()
    assert roots == [last.name]


async def test_directories_of_any_depth_are_removed(parent):
    (child,) = await fork(parent)
    place = os.open("workspace", os.O_RDONLY | os.O_DIRECTORY, dir_fd=child.root)
    for _ in range(1500):
        os.mkdir("deeper", dir_fd=place)
        deeper = os.open("deeper", os.O_RDONLY | os.O_DIRECTORY, dir_fd=place)
        os.close(place)
        place = deeper
    os.close(place)
    await child.end()
    await quiet(parent.jail)
    assert set((await on_disk(parent.jail))[0]) == parent.stack.layers()


async def test_the_hundredth_generation_stands_on_few_layers_and_has_every_file(parent):
    for number in range(100):
        write(parent, f"workspace/{number}", str(number))
        if number:
            os.unlink(f"workspace/{number - 1}", dir_fd=parent.root)
        (child,) = await fork(parent)
        await asyncio.gather(child.end(), quiet(parent.jail))
    assert listing(parent) == ["99"]
    assert len(parent.stack.below["r"]) <= 2 * FAN
    await quiet(parent.jail)
    layers, roots = await on_disk(parent.jail)
    assert len(layers) <= 4 * FAN
    assert roots == [parent.name]


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_is_done_to_files_merged_layers_show_it_as_it_was(parent, seed, monkeypatch):
    monkeypatch.setattr(layer_book, "FAN", 3)
    chance = random.Random(seed)
    merged = 0
    os.mkdir("workspace/t", dir_fd=parent.root)
    for _ in range(30):
        for _ in range(chance.randrange(1, 6)):
            change_something(parent, chance, renames=seed % 2 == 0)
        before = seen(parent)
        (child,) = await fork(parent)
        assert seen(child) == before
        assert seen(parent) == before
        await asyncio.gather(child.end(), quiet(parent.jail))
        merged += len(parent.jail.files._book._merged)
    assert merged


def change_something(branch, chance, *, renames):
    """One thing that a user does to files and directories; some of it fails, as it would for them."""
    names = [f"workspace/t/{name}" for name in "abc"]
    names += [f"{name}/{below}" for name in names for below in "de"]
    path, other = chance.choice(names), chance.choice(names)
    with contextlib.suppress(OSError):
        match chance.choice(["write", "mkdir", "unlink", "rmtree", "link", "chmod", "rename"]):
            case "write":
                write(branch, path, str(chance.random()))
            case "mkdir":
                os.mkdir(path, dir_fd=branch.root)
            case "unlink":
                os.unlink(path, dir_fd=branch.root)
            case "rmtree":
                shutil.rmtree(path, dir_fd=branch.root)
            case "link":
                os.symlink(other, path, dir_fd=branch.root)
            case "chmod":
                os.chmod(path, chance.choice([0o700, 0o755]), dir_fd=branch.root)
            case "rename" if renames or not is_directory(branch, path):
                os.rename(path, other, src_dir_fd=branch.root, dst_dir_fd=branch.root)


def is_directory(branch, path):
    return stat.S_ISDIR(os.stat(path, dir_fd=branch.root, follow_symlinks=False).st_mode)


def seen(branch):
    """All that is below one directory."""
    found = {}
    for directory, names, files, descriptor in os.fwalk("workspace/t", dir_fd=branch.root, follow_symlinks=False):
        for name in (*names, *files):
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            content = None
            if stat.S_ISREG(status.st_mode):
                content = read(branch, f"{directory}/{name}")
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(name, dir_fd=descriptor)
            found[f"{directory}/{name}"] = (status.st_mode, content)
    return found
