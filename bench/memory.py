"""Private memory and descriptors of processes, as the kernel of the machine counts them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


def children(root: int) -> list[int]:
    """Every descendant of a process, itself left out."""
    parents: dict[int, list[int]] = defaultdict(list)
    for entry in PROC.iterdir():
        if entry.name.isdecimal() and (parent := _parent(entry)) is not None:
            parents[parent].append(int(entry.name))
    found, ahead = [], [root]
    while ahead:
        below = parents.get(ahead.pop(), [])
        found += below
        ahead += below
    return found


def private_kib(pid: int) -> int:
    """Private_Clean and Private_Dirty of one process, what ending it would give back; 0 when it has ended."""
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    # Private_Hugetlb would be counted too; there is none.
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def descriptors(pids: Iterable[int]) -> int:
    """How many file descriptors processes have open, all together."""
    count = 0
    for pid in pids:
        # A process may end while it is looked at.
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            count += len(list((PROC / str(pid) / "fd").iterdir()))
    return count


def available_mib() -> int:
    """How much memory the machine could still give out."""
    lines = (PROC / "meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) // 1024


def jails(root: int) -> dict[str, list[int]]:
    """The descendants of a process that are in pid namespaces other than its own, by namespace: one is one jail.

    Without those that are built and wait for a kernel: nothing but their pid 1 runs there.
    """
    own = _namespace(root)
    found: dict[str, list[int]] = defaultdict(list)
    for pid in children(root):
        namespace = _namespace(pid)
        if namespace is not None and namespace != own:
            found[namespace].append(pid)
    return {namespace: pids for namespace, pids in found.items() if len(pids) > 1}


def jail_mib(pids: list[int]) -> float:
    """Private memory of a jail: its init, its kernel and whatever else runs there."""
    return sum(private_kib(pid) for pid in pids) / 1024


def _namespace(pid: int) -> str | None:
    try:
        return str((PROC / str(pid) / "ns" / "pid").readlink())
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def _parent(entry: Path) -> int | None:
    try:
        stat = (entry / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(stat.rpartition(")")[2].split()[1])
