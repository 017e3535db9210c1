"""Where control groups can be had: ``/proc/self/mountinfo`` and ``/proc/self/cgroup`` in, hierarchies out.

A hierarchy is a mounted tree of groups with the controllers that it offers: in version 1 one tree for each
controller (or a few together), in version 2 a single one; a machine may have both, with each controller in
one of them. Reads only, changes nothing; ``cgroups`` above it makes the groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

LIMITED = ("memory", "cpu", "pids")
"""Controllers that a sandbox is limited by."""
MEASURED = "cpuacct"
"""Version 1 measures cpu time by a controller of its own; version 2 by ``cpu``, or without one."""


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One tree of groups. ``own`` is the group that this process is in: what is made goes below it."""

    version: int
    root: Path
    own: Path
    controllers: frozenset[str]


def find(
    mountinfo: Path = Path("/proc/self/mountinfo"), membership: Path = Path("/proc/self/cgroup")
) -> list[Hierarchy]:
    """Find the hierarchies that offer any of ``LIMITED`` or ``MEASURED``; each controller is in one only."""
    paths = _memberships(membership.read_text())
    found: list[Hierarchy] = []
    wanted = {*LIMITED, MEASURED}
    # Version 1 first: a controller that a version 1 tree holds is not offered by version 2.
    for version, root, inner, options in sorted(_mounts(mountinfo.read_text()), key=lambda mount: mount[0]):
        path = paths.get(options & wanted if version == 1 else frozenset())
        if path is None:
            continue
        own = _below(root, inner, path)
        offered = options if version == 1 else _offered(own, root)
        controllers = frozenset(offered & wanted)
        if controllers:
            found.append(Hierarchy(version, root, own, controllers))
            wanted -= controllers
    return found


def _mounts(mountinfo: str) -> list[tuple[int, Path, str, frozenset[str]]]:
    """``(version, mount point, directory of the hierarchy that is mounted there, options)``, once each."""
    mounts: dict[tuple[int, frozenset[str]], tuple[int, Path, str, frozenset[str]]] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        version = {"cgroup": 1, "cgroup2": 2}.get(kind[0])
        if version:
            options = frozenset(kind[2].split(","))
            key = (version, options if version == 1 else frozenset())
            mounts.setdefault(key, (version, Path(fields[4]), fields[3], options))
    return list(mounts.values())


def _memberships(membership: str) -> dict[frozenset[str], str]:
    """Path of our group in each hierarchy, by those of its controllers that concern us; none: version 2's."""
    paths: dict[frozenset[str], str] = {}
    for line in membership.splitlines():
        number, controllers, path = line.split(":", 2)
        concerned = frozenset(controllers.split(",")) & {*LIMITED, MEASURED}
        if concerned or number == "0":
            paths[concerned] = path
    return paths


def _below(root: Path, inner: str, path: str) -> Path:
    """Our group's directory. In a container the mount may show only a part of the hierarchy: then its top."""
    try:
        own = root / PurePosixPath(path).relative_to(inner)
    except ValueError:
        return root
    return own if ".." not in own.parts and own.is_dir() else root


def _offered(own: Path, root: Path) -> frozenset[str]:
    """What version 2 offers to groups below ours."""
    for group in (own, root):
        try:
            return frozenset((group / "cgroup.controllers").read_text().split())
        except FileNotFoundError:
            continue
    return frozenset()
