"""Control groups: what bounds the memory, the cpu time and the number of processes of a sandbox.

``CgroupTree`` is a supervisor's subtree, below the group that the supervisor was started in, so that a limit
of an outer container holds for all of it; ``Cgroup`` is one sandbox in it. Both versions, and mixtures of
them, are a list of directories here, one for each hierarchy, and a limit is a pair of file name and text.

Blocks: more memory (swap, tmpfs, /dev/shm, memfd and kernel objects counted) than the limit, as an
out-of-memory kill inside of the group; more cpu time, as waiting; more processes and threads, as EAGAIN. Does
not block: disk, network or memory bandwidth.

Below: ``cgroup_mounts``. Above: the supervisor. A sandbox's group never makes its caller wait: what Linux still
uses is said to be busy, and the caller comes again. Only the end of a whole tree waits for processes to end.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ..handle import Usage
from ..limits import Limits
from . import cgroup_mounts, syscalls
from .cgroup_mounts import LIMITED, Hierarchy

PREFIX = "podflare_nb-"
"""Every tree's name begins with it; ``sweep`` touches nothing else."""
PROCESSES = "podflare_nb.processes"
"""Version 2: the leaf that the processes of our own group move to, for a group with controllers holds
none."""
CPU_PERIOD_US = 100_000
KILL_PASSES = 64
"""A group that may not fork is empty after one; the others are for groups without the pids controller."""
SWEEP_DEPTH = 8
END_SECONDS = 2.0

Writes = list[tuple[str, str]]


def limit_writes(version: int, controllers: Iterable[str], limits: Limits) -> Writes:
    """Name the files, and what to write to them, that impose ``limits`` on a group: pure."""
    memory, quota = str(limits.memory_mib << 20), str(max(1000, round(limits.cpus * CPU_PERIOD_US)))
    by_controller: dict[str, dict[int, Writes]] = {
        "memory": {
            # Memory and swap together are bounded by the same number: none of it is swap.
            1: [("memory.limit_in_bytes", memory), ("memory.memsw.limit_in_bytes", memory)],
            2: [("memory.max", memory), ("memory.swap.max", "0")],
        },
        "cpu": {
            1: [("cpu.cfs_period_us", str(CPU_PERIOD_US)), ("cpu.cfs_quota_us", quota)],
            2: [("cpu.max", f"{quota} {CPU_PERIOD_US}")],
        },
        "pids": {1: [("pids.max", str(limits.pids))], 2: [("pids.max", str(limits.pids))]},
    }
    return [
        write for controller in LIMITED if controller in controllers for write in by_controller[controller][version]
    ]


class Cgroup:
    """The group of one sandbox, in each hierarchy. Made by ``CgroupTree.create``."""

    def __init__(self, name: str, places: tuple[tuple[Hierarchy, str], ...]) -> None:
        self.name = name
        self._places = places
        self._oom_kills = 0
        self.procs_files = tuple(f"{directory}/cgroup.procs" for _, directory in places)
        """Files to write a pid to, to put its process into the group."""
        self.join_files = tuple(
            f"{directory}/{'tasks' if hierarchy.version == 1 else 'cgroup.procs'}" for hierarchy, directory in places
        )
        """Files to which a process of one thread writes ``0`` to put itself into the group. Who moves others has Linux
        wait for every processor first, some ten milliseconds; a thread of version 1 that moves itself does not."""

    def __repr__(self) -> str:
        return f"<Cgroup {self.name} {'present' if self._present() else 'removed'}>"

    def attach(self, pid: int) -> None:
        """Move a process into the group; what it forks from now on is born there."""
        for path in self.procs_files:
            _write(path, str(pid))

    def open_to_join(self) -> list[int]:
        """``join_files``, opened: for a process that cannot open them. Raises OSError."""
        with ExitStack() as opened:
            fds = []
            for path in self.join_files:
                fds.append(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
                opened.callback(os.close, fds[-1])
            opened.pop_all()
        return fds

    def has(self, pid: int) -> bool:
        """Whether the process is in it, in every hierarchy (cgroups(7), /proc/pid/cgroup); no two have one name."""
        entries = (_read(f"/proc/{pid}/cgroup") or "").splitlines()
        return sum(each.endswith(f"/{self.name}") for each in entries) == len(self._places)

    def update(self, limits: Limits) -> None:
        """Set its limits. Raises OSError (EBUSY) for less memory than is in use and cannot be let go."""
        for hierarchy, directory in self._places:
            writes = limit_writes(hierarchy.version, hierarchy.controllers, limits)
            try:
                _apply(directory, writes)
            except OSError as error:
                if hierarchy.version == 2 or error.errno != errno.EINVAL:
                    raise
                # Memory may never be allowed more than memory and swap together: to raise it, the other first.
                _apply(directory, writes[::-1])

    def usage(self) -> Usage:
        """Read what it uses now; None for what cannot be known."""
        return Usage(
            memory_bytes=self._number("memory", "memory.usage_in_bytes", "memory.current"),
            cpu_seconds=self._cpu_seconds(),
            pids=self._number("pids", "pids.current", "pids.current"),
        )

    def oom_kills(self) -> int:
        """How many of its processes Linux killed for want of memory; known even after ``remove``."""
        for _, directory in self._having("memory"):
            for name in ("memory.oom_control", "memory.events"):
                count = _field(f"{directory}/{name}", "oom_kill")
                self._oom_kills = self._oom_kills if count is None else count
        return self._oom_kills

    def pids(self) -> set[int]:
        """Its processes now, as this process's pid namespace numbers them."""
        for path in self.procs_files:
            text = _read(path)
            if text is not None:
                return {int(word) for word in text.split()} - {0}
        return set()

    def kill(self, spare: Collection[int] = ()) -> None:
        """Kill every process in it but these. They are dying when this returns, not necessarily gone."""
        unified = [directory for hierarchy, directory in self._places if hierarchy.version == 2]
        if not spare and unified and _write_if_there(f"{unified[0]}/cgroup.kill", "1"):
            return
        with _no_forks(directory for _, directory in self._having("pids")):
            killed: set[int] = set()
            for _ in range(KILL_PASSES):
                alive = self.pids().difference(spare, killed)
                if not alive:
                    return
                killed |= alive
                for pid in alive:
                    _kill_member(pid, self._is_member)

    def remove(self) -> bool:
        """Remove the group; idempotent. False while a process is still in it: kill, and try again."""
        self.oom_kills()
        gone = [_rmdir(directory) for _, directory in self._places]
        return all(gone)

    def _present(self) -> bool:
        return any(os.path.isdir(directory) for _, directory in self._places)  # noqa: PTH112 - strings, as all paths here

    def _having(self, controller: str) -> Iterator[tuple[Hierarchy, str]]:
        return (place for place in self._places if controller in place[0].controllers)

    def _number(self, controller: str, version_1: str, version_2: str) -> int | None:
        for hierarchy, directory in self._having(controller):
            text = _read(f"{directory}/{version_1 if hierarchy.version == 1 else version_2}")
            return int(text) if text else None
        return None

    def _cpu_seconds(self) -> float | None:
        nanoseconds = self._number("cpuacct", "cpuacct.usage", "cpuacct.usage")
        if nanoseconds is not None:
            return nanoseconds / 1e9
        for hierarchy, directory in self._places:
            microseconds = _field(f"{directory}/cpu.stat", "usage_usec") if hierarchy.version == 2 else None
            if microseconds is not None:
                return microseconds / 1e6
        return None

    def _is_member(self, pid: int) -> bool:
        """Whether the process is in this very group: its number may have passed to another one meanwhile."""
        lines = (_read(f"/proc/{pid}/cgroup") or "").splitlines()
        return any(line.endswith(f"/{self.name}") for line in lines)


class CgroupTree:
    """A supervisor's groups. ``close`` it with ``remove``; one that dies is cleared away by another's
    ``sweep``."""

    def __init__(self, name: str, hierarchies: Iterable[Hierarchy]) -> None:
        self.name = name
        self.missing: dict[str, str] = {}
        """Controllers of memory, cpu and pids that cannot be had, each with a sentence that says why."""
        self._places: list[tuple[Hierarchy, str]] = []
        self._locks: list[int] = []
        for hierarchy in hierarchies:
            try:
                self._plant(hierarchy)
            except OSError as error:
                for controller in hierarchy.controllers & set(LIMITED):
                    self.missing[controller] = f"no group can be made in {hierarchy.own}: {error.strerror}"
        had = {controller for hierarchy, _ in self._places for controller in hierarchy.controllers}
        for controller in LIMITED:
            if controller not in had:
                self.missing.setdefault(controller, "no mounted cgroup hierarchy offers it")

    def __repr__(self) -> str:
        return f"<CgroupTree {self.name} {'removed' if not self._places else 'open'}>"

    @classmethod
    def open(cls, name: str, hierarchies: Iterable[Hierarchy] | None = None) -> CgroupTree:
        """Make the subtree of this process. See ``missing`` for what it cannot limit."""
        own = f"{PREFIX}{name.removeprefix(PREFIX)}-{os.getpid()}-{_start_time()}"
        return cls(own, cgroup_mounts.find() if hierarchies is None else hierarchies)

    @property
    def version(self) -> str:
        """Return ``v1``, ``v2``, ``v1+v2`` or ``none``."""
        return "+".join(sorted({f"v{hierarchy.version}" for hierarchy, _ in self._places})) or "none"

    def create(self, sandbox_id: str, limits: Limits) -> Cgroup:
        """Make a sandbox's group with its limits. Raises OSError; then nothing of it is left."""
        name = f"{self.name}.{sandbox_id}"
        group = Cgroup(name, tuple((hierarchy, f"{top}/{name}") for hierarchy, top in self._places))
        try:
            for _, top in self._places:
                os.mkdir(f"{top}/{name}")  # noqa: PTH102 - forty a second at start, on strings
            group.update(limits)
        except OSError:
            group.remove()
            raise
        return group

    def remove(self) -> bool:
        """End what is left in the tree and remove it. False if Linux still holds some of it: try again."""
        self._places = [place for place in self._places if not _clear(place[0], place[1])]
        while self._locks:
            os.close(self._locks.pop())
        return not self._places

    @staticmethod
    def sweep(hierarchies: Iterable[Hierarchy] | None = None) -> list[str]:
        """End and remove the trees of supervisors that died (their locks are free); returns their names."""
        swept: dict[str, bool] = {}
        for hierarchy in cgroup_mounts.find() if hierarchies is None else hierarchies:
            for path in _trees(str(hierarchy.root), SWEEP_DEPTH):
                lock = _lock(path)
                if lock is None:
                    continue
                try:
                    name = path.rpartition("/")[2]
                    swept[name] = _clear(hierarchy, path) and swept.get(name, True)
                finally:
                    os.close(lock)
        return [name for name, gone in swept.items() if gone]

    def _plant(self, hierarchy: Hierarchy) -> None:
        base = str(hierarchy.own)
        if hierarchy.version == 2:
            base = _delegate(hierarchy)
        path = f"{base}/{self.name}"
        os.mkdir(path)  # noqa: PTH102 - see create
        lock = _lock(path)
        if lock is None:
            raise OSError(errno.EAGAIN, "somebody else has locked it")
        self._locks.append(lock)
        self._places.append((hierarchy, path))
        if hierarchy.version == 2:
            _write(f"{path}/cgroup.subtree_control", _signed("+", hierarchy.controllers))


def _delegate(hierarchy: Hierarchy) -> str:
    """Version 2: let the groups below ours have the controllers; the directory to make them in.

    A group with controllers for others may hold no process itself, so ours, and all others in our group, move
    to a leaf beside what we make.
    """
    base = str(hierarchy.own.parent if hierarchy.own.name == PROCESSES else hierarchy.own)
    enabled = (_read(f"{base}/cgroup.subtree_control") or "").split()
    wanted = _signed("+", hierarchy.controllers.difference(enabled))
    if not wanted:
        return base
    try:
        _write(f"{base}/cgroup.subtree_control", wanted)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        with suppress(FileExistsError):
            os.mkdir(f"{base}/{PROCESSES}")  # noqa: PTH102 - paths are strings here
        _move_processes(base, f"{base}/{PROCESSES}")
        _write(f"{base}/cgroup.subtree_control", wanted)
    return base


def _undelegate(hierarchy: Hierarchy, base: str) -> None:
    """Put our own group back as it was, unless another supervisor's tree still stands there."""
    leaf = f"{base}/{PROCESSES}"
    if not os.path.isdir(leaf) or any(True for _ in _trees(base, 1)):  # noqa: PTH112 - paths are strings here
        return
    _write(f"{base}/cgroup.subtree_control", _signed("-", hierarchy.controllers))
    _move_processes(leaf, base)
    _rmdir(leaf)


def _move_processes(source: str, target: str) -> None:
    for pid in (_read(f"{source}/cgroup.procs") or "").split():
        with suppress(ProcessLookupError):
            _write(f"{target}/cgroup.procs", pid)


def _clear(hierarchy: Hierarchy, tree: str) -> bool:
    """Kill what is in a tree and remove it; whether it is gone."""
    try:
        names = [entry.name for entry in os.scandir(tree) if entry.is_dir()]
    except FileNotFoundError:
        return True
    for name in names:
        group = Cgroup(name, ((hierarchy, f"{tree}/{name}"),))
        if not group.remove():
            group.kill()
            _wait_for_end(group.pids())
            group.remove()
    if not _rmdir(tree):
        return False
    if hierarchy.version == 2:
        _undelegate(hierarchy, os.path.dirname(tree))  # noqa: PTH120 - paths are strings here
    return True


def _trees(directory: str, depth: int) -> Iterator[str]:
    """Every supervisor's tree at most ``depth`` levels below a directory."""
    with suppress(FileNotFoundError), os.scandir(directory) as entries:
        below = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
        for entry in below:
            if entry.name.startswith(PREFIX):
                yield entry.path
            elif depth > 1:
                yield from _trees(entry.path, depth - 1)


def _lock(path: str) -> int | None:
    """Lock a tree's directory for as long as we live, whatever pid namespace asks; None if another has it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


@contextmanager
def _no_forks(directories: Iterable[str]) -> Iterator[None]:
    """Within it, no process of these groups can fork: killing them then comes to an end."""
    files = [f"{directory}/pids.max" for directory in directories]
    limits = [(file, _read(file)) for file in files]
    for file in files:
        _write_if_there(file, "0")
    try:
        yield
    finally:
        for file, limit in limits:
            if limit is not None:
                _write_if_there(file, limit.strip())


def _wait_for_end(pids: Iterable[int]) -> None:
    """Wait until these processes have ended, for as long as a supervisor's start or end may take at most."""
    deadline = time.monotonic() + END_SECONDS
    for pid in pids:
        with suppress(ProcessLookupError):
            pidfd = os.pidfd_open(pid)
            try:
                select.select([pidfd], [], [], max(0.0, deadline - time.monotonic()))
            finally:
                os.close(pidfd)


def _kill_member(pid: int, is_member: Callable[[int], bool]) -> None:
    with suppress(ProcessLookupError):
        pidfd = os.pidfd_open(pid)
        try:
            if is_member(pid):
                syscalls.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)


def _apply(directory: str, writes: Writes) -> None:
    for name, text in writes:
        try:
            _write(f"{directory}/{name}", text)
        except FileNotFoundError:
            # A Linux without swap accounting has no such file, and bounds memory alone.
            if name not in {"memory.memsw.limit_in_bytes", "memory.swap.max"}:
                raise
        except OSError as error:
            # More cpu than the outer group has: its own, lower limit holds.
            if name != "cpu.cfs_quota_us" or error.errno != errno.EINVAL:
                raise
            _write(f"{directory}/{name}", "-1")


def _signed(sign: str, controllers: Iterable[str]) -> str:
    return " ".join(f"{sign}{controller}" for controller in sorted(controllers) if controller in LIMITED)


def _field(path: str, name: str) -> int | None:
    for line in (_read(path) or "").splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return None


def _start_time() -> str:
    """When this process started, in clock ticks since boot: with its pid it names it for good."""
    return Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]


def _rmdir(path: str) -> bool:
    try:
        os.rmdir(path)  # noqa: PTH106 - see CgroupTree.create
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in {errno.EBUSY, errno.ENOTEMPTY}:
            return False
        raise
    return True


def _read(path: str) -> str | None:
    """Text of a small file; None if it, or the group, is gone."""
    try:
        with open(path) as file:  # noqa: PTH123 - see CgroupTree.create
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError as error:
        if error.errno == errno.ENODEV:  # the group went while it was being read
            return None
        raise


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _write_if_there(path: str, text: str) -> bool:
    """Whether the file was there to be written."""
    try:
        _write(path, text)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        return False
    return True
