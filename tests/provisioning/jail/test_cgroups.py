"""Version 1 with the machine's own groups and real processes; version 2 with a directory laid out like cgroupfs."""

import itertools
import json
import os
import select
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from podflare_nb.provisioning.handle import Usage
from podflare_nb.provisioning.jail import cgroup_mounts, cgroups
from podflare_nb.provisioning.jail.cgroup_mounts import Hierarchy
from podflare_nb.provisioning.jail.cgroups import CgroupTree, limit_writes
from podflare_nb.provisioning.limits import Limits

SMALL = Limits(memory_mib=64, cpus=0.5, pids=20)
SECONDS = 60
NOBODY = 65_534


def places_with_groups(name):
    """Every group whose name begins so, in any hierarchy. Others' come and go meanwhile: os.walk passes over them."""
    return {
        f"{top}/{each}"
        for hierarchy in cgroup_mounts.find()
        for top, below, _ in os.walk(hierarchy.root)
        for each in below
        if each.startswith(name)
    }


@pytest.fixture
def tree():
    if os.geteuid() != 0:
        pytest.skip("needs root")
    tree = CgroupTree.open("test")
    if tree.missing:
        tree.remove()
        pytest.skip(f"this machine offers no control groups: {tree.missing}")
    yield tree
    assert tree.remove()
    assert places_with_groups(tree.name) == set()


@pytest.fixture
def processes():
    """Starts processes, and ends them whatever the test did."""
    started = []

    def start(work):
        ready_read, ready_write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(ready_write)
                os.read(ready_read, 1)
                work()
            finally:
                os._exit(0)
        os.close(ready_read)
        started.append((pid, ready_write))
        return pid, lambda: os.write(ready_write, b"x")

    yield start
    for pid, ready in started:
        os.close(ready)
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            continue


def ended(pid):
    """The wait status of a process that ends within the bound."""
    pidfd = os.pidfd_open(pid)
    try:
        assert select.select([pidfd], [], [], SECONDS)[0], f"{pid} did not end"
    finally:
        os.close(pidfd)
    return os.waitpid(pid, 0)[1]


def fill_memory(mebibytes):
    held = [bytearray(b"x" * (1 << 20)) for _ in range(mebibytes)]
    return len(held)


def fill_memfd(mebibytes):
    fd = os.memfd_create("fill")
    for _ in range(mebibytes):
        os.write(fd, b"x" * (1 << 20))


def fill_shm(mebibytes):
    # Unlinked at once, so that nothing stays whatever becomes of the process.
    path = Path(f"/dev/shm/podflare-nb-test-{os.getpid()}")
    fd = os.open(path, os.O_CREAT | os.O_RDWR)
    path.unlink()
    for _ in range(mebibytes):
        os.write(fd, b"x" * (1 << 20))


@pytest.mark.parametrize("fill", [fill_memory, fill_memfd, fill_shm])
def test_more_memory_than_the_limit_ends_in_an_out_of_memory_kill_that_is_counted(tree, processes, fill):
    group = tree.create("bomb", SMALL)
    assert group.oom_kills() == 0
    pid, go = processes(lambda: fill(200))
    group.attach(pid)
    go()
    assert os.WTERMSIG(ended(pid)) == signal.SIGKILL
    assert group.oom_kills() == 1
    assert group.remove()
    assert group.oom_kills() == 1


def test_the_same_memory_without_the_group_is_no_trouble(processes):
    pid, go = processes(lambda: fill_memory(200))
    go()
    assert ended(pid) == 0


def fork_bomb(answer):
    """Fork until it fails; tell how many there were and why."""
    for count in itertools.count():
        try:
            pid = os.fork()
        except OSError as error:
            os.write(answer, json.dumps([count, error.errno]).encode())
            signal.pause()
        if pid == 0 or count > 200:
            os.close(answer)
            signal.pause()


def test_a_fork_bomb_stops_at_the_limit_and_is_killed_to_the_last(tree, processes):
    # Of memory enough: each of its processes has page tables for all that the test runner holds by then.
    group = tree.create("bomb", replace(SMALL, memory_mib=2048))
    read, write = os.pipe()
    pid, go = processes(lambda: fork_bomb(write))
    group.attach(pid)
    go()
    assert select.select([read], [], [], SECONDS)[0]
    assert json.loads(os.read(read, 100)) == [19, 11]
    os.close(read)
    os.close(write)
    assert group.usage().pids == 20
    assert not group.remove()
    members = {member: os.pidfd_open(member) for member in group.pids()}
    group.kill()
    for pidfd in members.values():
        assert select.select([pidfd], [], [], SECONDS)[0]
        os.close(pidfd)
    ended(pid)
    assert group.remove()


def test_kill_spares_the_one_it_is_told_to_and_the_group_may_fork_again(tree, processes):
    group = tree.create("spare", SMALL)
    pids = [processes(signal.pause)[0] for _ in range(4)]
    for pid in pids:
        group.attach(pid)
    group.kill(spare={pids[0]})
    assert [os.WTERMSIG(ended(pid)) for pid in pids[1:]] == [signal.SIGKILL] * 3
    assert group.pids() == {pids[0]}
    assert read_limit(group, "pids", "pids.max") == "20"
    group.kill()
    ended(pids[0])
    assert group.remove()


def test_a_process_moves_itself_by_files_that_were_opened_for_it(tree, processes):
    group = tree.create("joined", SMALL)
    fds = group.open_to_join()

    reading, writing = os.pipe()

    def join():
        os.setresuid(NOBODY, NOBODY, NOBODY)
        for fd in fds:
            os.write(fd, b"0")
        os.write(writing, b"x")
        signal.pause()

    pid, go = processes(join)
    assert not group.has(pid)
    go()
    assert os.read(reading, 1) == b"x"
    assert group.has(pid)
    assert group.pids() == {pid}
    for fd in (*fds, reading, writing):
        os.close(fd)
    group.kill()
    ended(pid)
    assert not group.has(pid)
    assert group.remove()


def read_limit(group, controller, name):
    for path in group.procs_files:
        file = Path(path).parent / name
        if file.exists():
            return file.read_text().strip()
    raise AssertionError(f"no {controller} group has {name}")


def test_limits_are_what_the_kernel_reads_back_and_can_be_raised_and_lowered(tree):
    if tree.version != "v1":
        pytest.skip("reads the files of version 1")
    group = tree.create("limits", SMALL)
    for limits in (SMALL, Limits(memory_mib=256, cpus=2, pids=99), Limits(memory_mib=128, cpus=0.25, pids=7)):
        group.update(limits)
        assert read_limit(group, "memory", "memory.limit_in_bytes") == str(limits.memory_mib << 20)
        assert read_limit(group, "memory", "memory.memsw.limit_in_bytes") == str(limits.memory_mib << 20)
        assert read_limit(group, "cpu", "cpu.cfs_quota_us") == str(int(limits.cpus * 100_000))
        assert read_limit(group, "pids", "pids.max") == str(limits.pids)
    assert group.remove()


def test_usage_is_read_while_it_runs_and_unknown_when_it_is_gone(tree, processes):
    group = tree.create("usage", SMALL)
    pid, _ = processes(signal.pause)
    group.attach(pid)
    usage = group.usage()
    assert usage.pids == 1
    assert usage.memory_bytes is not None
    assert usage.cpu_seconds is not None
    group.kill()
    ended(pid)
    assert group.remove()
    assert group.remove()
    assert group.usage() == Usage()
    assert group.pids() == set()
    assert "removed" in repr(group)


def test_more_cpu_than_the_outer_group_has_leaves_the_outer_limit_to_hold(tree):
    outer = tree.create("outer", Limits(cpus=0.5))
    place = next(place for place in outer._places if "cpu" in place[0].controllers)
    if place[0].version != 1:
        pytest.skip("version 2 takes any number")
    inner = cgroups.Cgroup("inner", ((place[0], f"{place[1]}/inner"),))
    Path(place[1], "inner").mkdir()
    inner.update(Limits(cpus=4))
    assert read_limit(inner, "cpu", "cpu.cfs_quota_us") == "-1"
    assert inner.remove()
    assert outer.remove()


def test_a_group_that_cannot_be_limited_is_not_left_behind(tree, monkeypatch):
    def fail(_self, _limits):
        raise OSError(22, "no")

    monkeypatch.setattr(cgroups.Cgroup, "update", fail)
    with pytest.raises(OSError, match="no"):
        tree.create("half", SMALL)
    assert places_with_groups(f"{tree.name}.half") == set()


def test_sweep_ends_the_tree_of_a_supervisor_that_died_and_leaves_a_live_one(tree, in_child):
    alive = tree.create("alive", SMALL)
    left = in_child("""
from podflare_nb.provisioning.jail.cgroups import CgroupTree
from podflare_nb.provisioning.limits import Limits
dead = CgroupTree.open("test-dead")
pid = os.fork()
if pid == 0:
    sc.close_range(0)
    while True:
        signal.pause()
dead.create("orphan", Limits()).attach(pid)
print(json.dumps([dead.name, pid]))
sys.stdout.flush()
os._exit(0)
""")
    name, orphan = left
    pidfd = os.pidfd_open(orphan)
    assert name in CgroupTree.sweep()
    assert select.select([pidfd], [], [], SECONDS)[0]
    os.close(pidfd)
    assert places_with_groups(name) == set()
    assert alive.usage().pids == 0
    assert alive.remove()


@pytest.fixture
def unified(tmp_path, monkeypatch):
    """A version 2 hierarchy as files: making a group makes its files, as the kernel does; its processes are ours."""
    files = {"cgroup.procs": "", "cgroup.subtree_control": "", "cgroup.controllers": "cpu memory pids\n"}
    limited = {"memory.max": "", "memory.swap.max": "", "cpu.max": "", "pids.max": "",
               "memory.current": "4096\n", "memory.events": "oom 3\noom_kill 2\n", "pids.current": "5\n",
               "cpu.stat": "usage_usec 1500000\nuser_usec 1\n", "cgroup.kill": ""}  # fmt: skip
    make, unmake = os.mkdir, os.rmdir

    def mkdir(path, *rest):
        make(path, *rest)
        for name, text in {**files, **limited}.items():
            (Path(path) / name).write_text(text)

    def rmdir(path):
        for file in Path(path).iterdir():
            if file.is_file():
                file.unlink()
        unmake(path)

    root = tmp_path / "cg"
    mkdir(root)
    monkeypatch.setattr(cgroups.os, "mkdir", mkdir)
    monkeypatch.setattr(cgroups.os, "rmdir", rmdir)
    return Hierarchy(2, root, root, frozenset({"memory", "cpu", "pids"}))


def test_version_2_gets_its_controllers_and_its_limits_by_its_own_files(unified):
    tree = CgroupTree.open("two", [unified])
    assert (tree.version, tree.missing) == ("v2", {})
    assert (unified.root / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    assert (unified.root / tree.name / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    group = tree.create("one", SMALL)
    directory = unified.root / tree.name / group.name
    assert group.procs_files == (str(directory / "cgroup.procs"),)
    written = {
        name: (directory / name).read_text() for name in ("memory.max", "memory.swap.max", "cpu.max", "pids.max")
    }
    assert written == {"memory.max": str(64 << 20), "memory.swap.max": "0", "cpu.max": "50000 100000", "pids.max": "20"}
    assert group.usage() == Usage(memory_bytes=4096, cpu_seconds=1.5, pids=5)
    assert group.oom_kills() == 2
    group.kill()
    assert (directory / "cgroup.kill").read_text() == "1"
    assert group.remove()
    assert tree.remove()


def test_version_2_moves_our_own_processes_to_a_leaf_when_the_group_holds_some(unified, monkeypatch):
    write, refused = cgroups._write, []

    def first_refused(path, text):
        if path.endswith("/cg/cgroup.subtree_control") and not refused:
            refused.append(path)
            raise OSError(16, "busy")
        write(path, text)

    (unified.root / "cgroup.procs").write_text("12")
    monkeypatch.setattr(cgroups, "_write", first_refused)
    tree = CgroupTree.open("two", [unified])
    leaf = unified.root / cgroups.PROCESSES
    assert (leaf / "cgroup.procs").read_text() == "12"
    assert tree.missing == {}
    assert tree.remove()
    assert not leaf.exists()
    assert (unified.root / "cgroup.procs").read_text() == "12"
    assert (unified.root / "cgroup.subtree_control").read_text() == "-cpu -memory -pids"


def test_what_cannot_be_had_is_named_with_its_reason(tmp_path):
    nowhere = Hierarchy(1, tmp_path / "none", tmp_path / "none", frozenset({"memory"}))
    tree = CgroupTree.open("lacking", [nowhere])
    assert sorted(tree.missing) == ["cpu", "memory", "pids"]
    assert "No such file" in tree.missing["memory"]
    assert tree.version == "none"
    assert tree.remove()


def test_limits_are_bytes_microseconds_and_counts():
    assert limit_writes(1, {"cpu"}, Limits(cpus=0.001)) == [
        ("cpu.cfs_period_us", "100000"),
        ("cpu.cfs_quota_us", "1000"),
    ]
    assert limit_writes(2, {"pids"}, Limits(pids=3)) == [("pids.max", "3")]
    assert limit_writes(1, {"cpuacct"}, Limits()) == []


def test_the_real_version_2_kills_and_spares(processes):
    root = Path("/sys/fs/cgroup/unified") if Path("/sys/fs/cgroup/unified").is_dir() else Path("/sys/fs/cgroup")
    if os.geteuid() != 0 or not (root / "cgroup.procs").exists():
        pytest.skip("no version 2 hierarchy to write to")
    tree = CgroupTree.open("test-real", [Hierarchy(2, root, root, frozenset())])
    group = tree.create("one", SMALL)
    pids = [processes(signal.pause)[0] for _ in range(3)]
    for pid in pids:
        group.attach(pid)
    group.kill(spare={pids[0]})
    assert [os.WTERMSIG(ended(pid)) for pid in pids[1:]] == [signal.SIGKILL] * 2
    assert group.pids() == {pids[0]}
    group.kill()
    assert os.WTERMSIG(ended(pids[0])) == signal.SIGKILL
    assert group.remove()
    assert tree.remove()
