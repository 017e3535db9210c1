"""Which layers of a jail's disk are needed, by whom, and which are to be merged: book-keeping, pure.

Every fork adds a layer to a line of branches, and a file is looked for in one after the other. So runs of layers are
merged, eight of one size into one of the next: a hundred generations stand on some ten layers, and each file is
linked anew two or three times in all. A merged layer takes the place of its run when a root is next composed; who has
the run mounted keeps it. ``jail.frozen_layers`` does the work, ``jails`` asks for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from .jail.plan import Stack

FAN = 8
"""So many adjacent layers of one size are merged into one."""


@dataclass(frozen=True, slots=True)
class Merge:
    """Make ``target`` of a run of layers of one tree, the newest first."""

    key: str
    run: tuple[str, ...]
    target: str


class LayerBook:
    """The layers of one jail. A stack is held for whoever uses it; a layer that no held stack needs is not needed."""

    def __init__(self) -> None:
        self._names = itertools.count(1)
        self._held: dict[Hashable, Stack] = {}
        self._on_disk: set[str] = set()
        self._merged: dict[tuple[str, tuple[str, ...]], str] = {}
        self._sizes: dict[tuple[str, str], int] = {}
        self._barriers: set[tuple[str, str]] = set()

    def __repr__(self) -> str:
        return f"<LayerBook layers={len(self._on_disk)} stacks={len(self._held)}>"

    def new_name(self) -> str:
        """For a layer, or a branch and the layer that it writes to."""
        return str(next(self._names))

    def hold(self, holder: Hashable, stack: Stack) -> None:
        """``holder`` uses this stack now, and none that it used before."""
        self._held[holder] = stack
        self._on_disk |= stack.layers()

    def release(self, holder: Hashable) -> None:
        """``holder`` uses nothing any more. Idempotent."""
        self._held.pop(holder, None)

    def take_unneeded(self) -> list[str]:
        """Layers to remove from the disk now; they are forgotten."""
        needed: set[str] = set()
        for stack in self._held.values():
            needed |= stack.layers()
            for key, layers in stack.below.items():
                needed.update(self._compact(key, layers)[1])  # what will stand for runs when it is composed anew
        unneeded = self._on_disk - needed
        self._on_disk -= unneeded
        self._merged = {
            (key, run): target
            for (key, run), target in self._merged.items()
            if target not in unneeded and unneeded.isdisjoint(run)
        }
        self._sizes = {place: size for place, size in self._sizes.items() if place[1] in self._on_disk}
        self._barriers = {place for place in self._barriers if place[1] in self._on_disk}
        return sorted(unneeded)

    def compact(self, stack: Stack) -> Stack:
        """The same files, with merged layers for their runs."""
        return Stack(stack.upper, {key: self._compact(key, layers)[0] for key, layers in stack.below.items()})

    def _compact(self, key: str, layers: tuple[str, ...]) -> tuple[tuple[str, ...], list[str]]:
        """The layers with merged ones for their runs, and all merged ones that were met on the way."""
        met: list[str] = []
        while True:
            for (other, run), target in self._merged.items():
                place = _find(layers, run) if other == key else None
                if place is not None:
                    layers = (*layers[:place], target, *layers[place + len(run) :])
                    met.append(target)
                    break
            else:
                return layers, met

    def next_merge(self, stack: Stack) -> Merge | None:
        """What to merge of this stack, which is to be held until ``merged`` or ``refused``; None: nothing."""
        for key, layers in self.compact(stack).below.items():
            for run in self._runs(key, layers):
                if len(run) >= FAN:
                    return Merge(key, run, self.new_name())
        return None

    def _runs(self, key: str, layers: Sequence[str]) -> Iterable[tuple[str, ...]]:
        """Adjacent layers of one size, with nothing older than a barrier in one run with it."""
        run: list[str] = []
        for layer in layers:
            if run and (self._size(key, run[-1]) != self._size(key, layer) or (key, run[-1]) in self._barriers):
                yield tuple(run)
                run = []
            run.append(layer)
        yield tuple(run)

    def _size(self, key: str, layer: str) -> int:
        return self._sizes.get((key, layer), 0)

    def merged(self, merge: Merge) -> None:
        """It was made, and is on the disk."""
        self._on_disk.add(merge.target)
        self._merged[merge.key, merge.run] = merge.target
        self._sizes[merge.key, merge.target] = self._size(merge.key, merge.run[0]) + 1

    def refused(self, merge: Merge, age: int | None) -> None:
        """It could not be made: the layer at this place of the run (None: each) merges with nothing older."""
        self._on_disk.add(merge.target)  # what there is of it
        run = merge.run if age is None else merge.run[age : age + 1]
        self._barriers |= {(merge.key, layer) for layer in run}


def _find(layers: Sequence[str], run: Sequence[str]) -> int | None:
    """Where a run stands in a stack."""
    try:
        place = layers.index(run[0])
    except ValueError:
        return None
    return place if tuple(layers[place : place + len(run)]) == tuple(run) else None
