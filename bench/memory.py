"""Private memory of processes, as the kernel of the machine counts it: what ending them would give back."""

from __future__ import annotations

from collections import defaultdict
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
    """Private_Clean and Private_Dirty of one process; 0 when it has ended."""
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    # Private_Hugetlb would be counted too; there is none.
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


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
