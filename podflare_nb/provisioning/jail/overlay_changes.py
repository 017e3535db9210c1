"""Finds the files that differ between two branches of one family, from their overlay layers.

Two stacks of layers share what lies below their fork; only names that a layer of one side alone holds can differ. So
the walk goes through those layers, not through the tree, and asks both stacks what they show under each name, as
overlayfs does: the first layer that has it wins, a whiteout hides it, directories merge down to an opaque one. A
file's content is read only when type, mode and size are the same and it is not the same file of the same layer; times,
owners and extended attributes are not compared.

Reported are files of every kind (a link as itself), not directories; one that is empty shows nowhere. Left out are
sockets (they are their process's, which does not fork) and what is in ``__pycache__`` with the suffix .pyc, which an
import writes. /dev/shm is not on the disk and not compared.

Runs as the host's root over trees that a hostile tenant wrote, who may be changing them now: every name is resolved
beneath its layer without links (openat2), nothing but a directory or a regular file is opened, and time, entries and
bytes are budgeted; ``truncated`` tells that the budget ended first. It does not see through ``metacopy``: branches are
to be mounted without it, and what has it is left out as ``truncated``.
Standard library only, everything imported at the top: the caller is a fork in the jail's mount namespace, where no
module is to be found.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .overlay_layer import OPEN_FILE, Layer
from .overlay_lookup import File, Level, Places
from .plan import WORKSPACE

CHUNK_BYTES = 1 << 20
MAX_JSON_BYTES = 4 << 20
"""Of what ``Changes.encode`` gives; a list ends before it would be longer."""
_JSON_BYTES_BESIDE_PATH = 64
_JSON_BYTES_AROUND = 256
_MAX_PATH_BYTES = 3800
"""Of a directory that is looked into; the system resolves no path of 4096. Deeper ones can be made, step by step."""

Stacks: TypeAlias = Mapping[str, Sequence[str]]
"""Mount point -> directories of its layers, the top first, the base that overlayfs has below them all as the last."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a comparison may cost: ``entries`` are names looked at, ``bytes`` are read, on each side; ``reported`` are
    files of one list.
    """

    seconds: float = 10.0
    entries: int = 500_000
    bytes: int = 2 << 30
    reported: int = 10_000


@dataclass(slots=True)
class Changes:
    """What theirs has that ours has not is ``added``. Paths are absolute, as the sandbox sees them, with bytes that are
    no UTF-8 as surrogates; sizes in bytes. ``truncated``: there may be more, and nothing in the lists is wrong.
    """

    added: list[dict[str, Any]] = field(default_factory=list)
    removed: list[dict[str, Any]] = field(default_factory=list)
    modified: list[dict[str, Any]] = field(default_factory=list)
    truncated: bool = False

    def to_json(self) -> dict[str, Any]:
        """``{"added": [{path, size}], "removed": the same, "modified": [{path, size, other_size}], "truncated"}``."""
        return {
            "added": self.added,
            "removed": self.removed,
            "modified": self.modified,
            "truncated": self.truncated,
        }

    def encode(self) -> bytes:
        """``to_json`` as JSON in ASCII, ``MAX_JSON_BYTES`` at most."""
        return json.dumps(self.to_json(), separators=(",", ":")).encode("ascii")


def compare(ours: Stacks, theirs: Stacks, *, budget: Budget) -> Changes:
    """Compare two branches of the same mount points.

    Raises OSError when a layer itself cannot be opened, or the disk fails.
    """
    run = _Comparison(budget)
    try:
        with run.within_budget():
            for mount_point in sorted(ours):
                covered = frozenset(other for other in ours if other != mount_point)
                _Tree(run, mount_point, covered).compare(ours[mount_point], theirs[mount_point])
        with run.within_budget():
            run.compare_contents()
    finally:
        run.close()
    for entries in (run.changes.added, run.changes.removed, run.changes.modified):
        entries.sort(key=lambda entry: str(entry["path"]))
    return run.changes


class _BudgetSpentError(Exception):
    """Nothing more may be done."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two regular files of one path that differ in content, or not at all."""

    path: str
    ours: File
    theirs: File


class _Comparison:
    """The budget, the report, and the files that are still to be read."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._deadline = time.monotonic() + budget.seconds
        self._entries = budget.entries
        self._bytes = budget.bytes
        self._json_bytes = MAX_JSON_BYTES - _JSON_BYTES_AROUND
        self._pairs: list[_Pair] = []
        self._layers: list[Layer] = []
        self.changes = Changes()

    def close(self) -> None:
        for layer in self._layers:
            layer.close()

    @contextmanager
    def within_budget(self) -> Iterator[None]:
        """End what is done inside when the budget is spent."""
        try:
            yield
        except _BudgetSpentError:
            self.changes.truncated = True

    def open_layers(self, paths: Sequence[str]) -> list[Layer]:
        opened = []
        for path in paths:
            opened.append(Layer(path))
            self._layers.append(opened[-1])
        return opened

    def spend_entry(self) -> None:
        self._entries -= 1
        if self._entries < 0 or time.monotonic() > self._deadline:
            raise _BudgetSpentError

    def report(self, path: str, ours: File | None, theirs: File | None) -> None:
        """One of the two may be absent."""
        entry: dict[str, Any] = {"path": path}
        if ours is None:
            entries = self.changes.added
        elif theirs is None:
            entries = self.changes.removed
        else:
            entries = self.changes.modified
            entry["other_size"] = theirs.status.st_size
        shown = ours or theirs
        if shown is None:
            return
        entry["size"] = shown.status.st_size
        self._json_bytes -= len(json.dumps(path)) + _JSON_BYTES_BESIDE_PATH
        if self._json_bytes < 0:
            raise _BudgetSpentError
        if len(entries) < self._budget.reported:
            entries.append(entry)
        else:
            self.changes.truncated = True

    def read_later(self, pair: _Pair) -> None:
        """Contents come last: a few large files must not cost the report its many small ones."""
        self._pairs.append(pair)

    def compare_contents(self) -> None:
        """The smallest first."""
        for pair in sorted(self._pairs, key=lambda pair: pair.ours.status.st_size):
            equal = self._contents_are_equal(pair)
            if equal is None:
                self.changes.truncated = True
            elif not equal:
                self.report(pair.path, pair.ours, pair.theirs)

    def _contents_are_equal(self, pair: _Pair) -> bool | None:
        """None when one of them cannot be read, as it is gone or has become something else meanwhile."""
        with _opened(pair.ours) as one, _opened(pair.theirs) as other:
            if one is None or other is None:
                return None
            while True:
                if time.monotonic() > self._deadline or self._bytes <= 0:
                    raise _BudgetSpentError
                mine, its = os.read(one, CHUNK_BYTES), os.read(other, CHUNK_BYTES)
                self._bytes -= max(len(mine), len(its))
                if mine != its:
                    return False
                if not mine:
                    return True


@contextmanager
def _opened(file: File) -> Iterator[int | None]:
    """A regular file that holds its own data, for reading; None if there is none now."""
    descriptor = file.layer.open(file.path, OPEN_FILE)
    try:
        yield descriptor if descriptor is not None and file.layer.holds_data(descriptor) else None
    finally:
        if descriptor is not None:
            os.close(descriptor)


class _Tree:
    """One mount point of both branches. ``covered``: other mount points, whose trees hide what is below them here."""

    def __init__(self, run: _Comparison, mount_point: str, covered: frozenset[str]) -> None:
        self._run = run
        self._mount_point = mount_point.rstrip("/")
        self._covered = covered
        self._layers: list[Layer] = []
        self._ours: tuple[int, ...] = ()
        self._theirs: tuple[int, ...] = ()
        self._pending: list[tuple[str, Places, Places]] = []

    def compare(self, ours: Sequence[str], theirs: Sequence[str]) -> None:
        """A layer is its path: one that both stacks name is the same layer."""
        paths = list(dict.fromkeys([*ours, *theirs]))
        self._layers = self._run.open_layers(paths)
        self._ours, self._theirs = tuple(map(paths.index, ours)), tuple(map(paths.index, theirs))
        self._pending = [(".", _roots(self._ours), _roots(self._theirs))]
        while self._pending:
            self._visit(*self._pending.pop())

    def _visit(self, below: str, ours: Places, theirs: Places) -> None:
        """Compare one directory, which these directories of layers make up on each side."""
        if any(len(os.fsencode(path)) > _MAX_PATH_BYTES for path in (below, *(path for _, path in (*ours, *theirs)))):
            self._run.changes.truncated = True
            return
        with Level(self._layers, {*ours, *theirs}) as level:
            ours, theirs = level.present(ours), level.present(theirs)
            common = _common_tail(ours, theirs)
            names: set[str] = set()
            for place in {*ours[: len(ours) - common], *theirs[: len(theirs) - common]}:
                for name in level.names(place):
                    self._run.spend_entry()
                    names.add(name)
            # Popped from the end: the workspace is looked at first, whatever the budget is.
            for name in sorted(names, key=lambda name: (below == "." and f"/{name}" == WORKSPACE, name)):
                self._compare_name(level, name if below == "." else f"{below}/{name}", ours, theirs)

    def _compare_name(self, level: Level, below: str, ours: Places, theirs: Places) -> None:
        name = below.rpartition("/")[2]
        path = f"{self._mount_point}/{below}"
        if path in self._covered:
            return
        self._run.spend_entry()
        my_file, my_places = level.look(name, ours, self._ours)
        its_file, its_places = level.look(name, theirs, self._theirs)
        if my_places != its_places:
            self._pending.append((below, my_places, its_places))
        if _is_noise(below) or (my_file is None and its_file is None):
            return
        if my_file is None or its_file is None or not my_file.looks_like(its_file):
            self._run.report(path, my_file, its_file)
        elif my_file.is_same_inode(its_file):
            return
        elif stat.S_ISREG(my_file.status.st_mode):
            self._run.read_later(_Pair(path, my_file, its_file))
        elif stat.S_ISLNK(my_file.status.st_mode) and level.target(my_file) != level.target(its_file):
            self._run.report(path, my_file, its_file)


def _roots(numbers: Sequence[int]) -> Places:
    return tuple((number, ".") for number in numbers)


def _common_tail(ours: Places, theirs: Places) -> int:
    """How many of the lowest directories are the same."""
    common = 0
    for mine, its in zip(reversed(ours), reversed(theirs), strict=False):
        if mine != its:
            break
        common += 1
    return common


def _is_noise(below: str) -> bool:
    parent, _, name = below.rpartition("/")
    return name.endswith(".pyc") and parent.rpartition("/")[2] == "__pycache__"
