"""What a running service has on this machine, recorded while it runs, so that what is left of it can be counted."""

import gc
import os
import re
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from podflare_nb.provisioning.network import namespaces
from podflare_nb.provisioning.network.rules import UPLINK_PREFIX

from ..conftest import Service
from ..provisioning.network.netfilter_dump import tables

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
WORK = Path(f"/var/tmp/podflare_nb-{os.getuid()}")
SUPERVISOR, INIT = "provisioning.supervisor", "podflare-nb-init"
SO_NETNS_COOKIE = 71
LOOK_AGAIN_SECONDS = 0.02
STEADY_LOOKS = 50
GONE_SECONDS = 20
"""What has ended is gone by then: a connection that Linux waits for would hold a network for a minute."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Process:
    """A process, named by its start too: its number may pass to another one."""

    pid: int
    started: str
    parent: int
    command: str

    def alive(self) -> bool:
        now = process(self.pid)
        return now is not None and now.started == self.started


def process(pid: int) -> Process | None:
    """None if there is none, or only a zombie of one."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        command = (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return None
    return None if fields[0] in "ZX" else Process(pid, fields[19], int(fields[1]), command)


def processes() -> Iterator[Process]:
    for path in PROC.iterdir():
        if path.name.isdecimal() and (found := process(int(path.name))) is not None:
            yield found


def descendants(pid: int) -> list[Process]:
    """Every process below this one; those of jails too, whose parent is the supervisor."""
    everybody, found, ahead = list(processes()), [], [pid]
    while ahead:
        parent = ahead.pop()
        below = [each for each in everybody if each.parent == parent]
        found += below
        ahead += [each.pid for each in below]
    return found


def environment(pid: int) -> bytes:
    return (PROC / str(pid) / "environ").read_bytes()


def supervisor_of(service: Service) -> Process:
    """The supervisor that the service started."""
    for each in descendants(service.process.pid):
        if SUPERVISOR in each.command:
            return each
    raise AssertionError("the service has no supervisor")


def template_of(service: Service, name: str) -> Process | None:
    """The process of a template of ``services.light_templates``; None while there is none."""
    ours = (PROC / "self" / "ns" / "pid").readlink()
    for each in descendants(supervisor_of(service).pid):
        with suppress(OSError):  # it ended while we looked
            if (PROC / str(each.pid) / "ns" / "pid").readlink() == ours and wanted(each.pid, name):
                return each
    return None


def wanted(pid: int, template: str) -> bool:
    return f"TEMPLATE={template}\0".encode() in environment(pid)


def warm_kernels(service: Service, template: str) -> list[Process]:
    """Kernels of a template, none of which is anybody's yet unless a test has taken one."""
    ours = (PROC / "self" / "ns" / "pid").readlink()
    found = []
    for each in descendants(supervisor_of(service).pid):
        with suppress(OSError):  # as above
            if (PROC / str(each.pid) / "ns" / "pid").readlink() != ours and wanted(each.pid, template):
                found.append(each)
    return found


def kernel_named(service: Service, name: str) -> Process:
    """The kernel that gave itself this name (``/proc/self/comm``)."""
    for each in descendants(service.process.pid):
        with suppress(OSError):  # it ended while we looked
            if (PROC / str(each.pid) / "comm").read_text().strip() == name:
                return each
    raise AssertionError(f"no process is called {name!r}")


def init_of(service: Service, kernel: Process) -> Process:
    """Pid 1 of the kernel's jail."""
    namespace = (PROC / str(kernel.pid) / "ns" / "pid").readlink()
    for each in descendants(service.process.pid):
        with suppress(OSError):  # as above
            if each.command.startswith(INIT) and (PROC / str(each.pid) / "ns" / "pid").readlink() == namespace:
                return each
    raise AssertionError("the kernel's jail has no pid 1")


def until(happened: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for what Linux and the service tell nobody; fails when it is too late."""
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        select.select([], [], [], LOOK_AGAIN_SECONDS)


def steady(look: Callable[[], T], seconds: float) -> T:
    """What ``look`` gives once it gives the same many times in a row."""
    seen: list[T] = []

    def unchanged() -> bool:
        seen.append(look())
        return len(seen) >= STEADY_LOOKS and all(each == seen[-1] for each in seen[-STEADY_LOOKS:])

    until(unchanged, seconds, "nothing changes any more")
    return seen[-1]


def until_no_more(look: Callable[[], Counter[str]], before: Counter[str], seconds: float) -> None:
    """Wait until there is no more of anything than before; fails with what there is more of."""
    more: Counter[str] = Counter()

    def as_before() -> bool:
        more.clear()
        more.update(look() - before)
        return not more

    try:
        until(as_before, seconds, "no more than before")
    except AssertionError as late:
        late.add_note(f"more than before: {dict(more)}")
        raise


@dataclass(frozen=True, slots=True)
class Traces:
    """A service's processes and the names of its supervisors, which every directory, group and device of them has."""

    supervisors: tuple[str, ...]
    runtime_dir: Path
    processes: tuple[Process, ...]
    namespaces: frozenset[int]
    """Of networks, beside the service's own."""

    @classmethod
    def of(cls, service: Service) -> "Traces":
        names = tuple(path.name for path in service.runtime_dir.glob("s-*"))
        assert names, "the service has no supervisor"
        ours = process(service.process.pid)
        assert ours is not None
        everybody = (ours, *descendants(ours.pid))
        host = cookie(PROC / str(ours.pid) / "ns" / "net")
        held = network_namespaces(*(each.pid for each in everybody)) - {host}
        return cls(names, service.runtime_dir, everybody, frozenset(held))

    def left(self) -> list[str]:
        """All that is still there of it, in words; of networks, what is left in the caller's network namespace."""
        found = [f"network namespace {number}" for number in sorted(self.namespaces & network_namespaces())]
        found += [
            f"link {name}" for name in uplinks() if name.removeprefix(UPLINK_PREFIX) in " ".join(self.supervisors)
        ]
        found += [f"table {name}" for name in tables() if any(name.endswith(each) for each in self.supervisors)]
        found += [f"process {each.pid} {each.command[:80]}" for each in self.processes if each.alive()]
        for name in self.supervisors:
            found += [f"mount {line}" for line in mounts() if name in line]
            found += [f"device {line}" for line in loop_devices() if name in line]
            found += [f"control group {path}" for path in control_groups(name)]
            found += [f"directory {path}" for path in (self.runtime_dir / name, WORK / name) if path.exists()]
        return found

    def until_gone(self, seconds: float) -> None:
        """Wait until nothing is left; fails with what is."""
        try:
            until(lambda: not self.left(), seconds, "nothing is left")
        except AssertionError as late:
            late.add_note("\n".join(self.left()))
            raise

    def until_ended(self, seconds: float) -> None:
        """Wait until every process has ended."""
        until(lambda: not any(each.alive() for each in self.processes), seconds, "the end of all processes")


def network_namespaces(*pids: int) -> set[int]:
    """Those that processes are in, or hold by a descriptor; of all processes if none are named.

    By their cookies, which Linux gives only once: their inode numbers soon pass to others.
    """
    found: dict[str, int] = {}
    for base in [PROC / str(pid) for pid in pids] or [path for path in PROC.iterdir() if path.name.isdecimal()]:
        with suppress(OSError):  # it ended while we looked
            for path in (base / "ns" / "net", *(base / "fd").iterdir()):
                with suppress(OSError):
                    if (target := str(path.readlink())).startswith("net:[") and target not in found:
                        found[target] = cookie(path)
    return set(found.values())


def cookie(path: Path) -> int:
    """Of the network namespace that this leads to."""
    namespace = os.open(path, os.O_RDONLY)
    try:
        with namespaces.open_socket(namespace, socket.AF_INET, socket.SOCK_DGRAM) as sock:
            return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), "little")
    finally:
        os.close(namespace)


def uplinks() -> list[str]:
    """Links of this network namespace to routers."""
    return [name for _, name in socket.if_nameindex() if name.startswith(UPLINK_PREFIX)]


def mounts() -> list[str]:
    return (PROC / "self" / "mounts").read_text().splitlines()


def loop_devices() -> list[str]:
    """The files behind loop devices, those that nobody uses any more too."""
    found = []
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            found.append(f"{path.parent.parent.name} {path.read_text().strip()}")
        except OSError:
            continue  # let go of while we looked
    return found


def control_groups(name: str) -> list[Path]:
    return [Path(found) for found, _, _ in os.walk(CGROUPS) if re.search(rf"podflare_nb-{name}\b", Path(found).name)]


def descriptors(pid: int) -> list[str]:
    """Where the descriptors of a process lead, sockets and pipes without their numbers."""
    found = []
    for path in (PROC / str(pid) / "fd").iterdir():
        try:
            found.append(re.sub(r":\[\d+\]", "", str(path.readlink())))
        except OSError:
            continue  # closed while we looked
    return sorted(found)


def own_descriptors() -> Counter[str]:
    """How many descriptors of each kind this process has, for ``until_no_more``: what earlier tests left to threads and
    to the garbage collector comes and goes beside it."""
    gc.collect()
    return Counter("a file" if link.startswith("/") else link for link in descriptors(os.getpid()))
