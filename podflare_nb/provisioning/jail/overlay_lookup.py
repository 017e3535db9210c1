"""Looks a name up in stacks of layers as overlayfs does (kernel: fs/overlayfs/namei.c), for one directory at a time.

A stack shows under a name what its first layer has there: a file, nothing where that is a whiteout, or a directory,
merged with those of the layers below it down to an opaque one. A directory that was renamed names where the layers
below have it (``redirect_dir``). ``overlay_changes`` stands above, ``overlay_layer`` below.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self, TypeAlias

from .overlay_layer import Directory, Layer, is_whiteout

Place: TypeAlias = tuple[int, str]
"""A directory of one layer: the layer's number, the path below it; ``"."`` is the layer itself."""
Places: TypeAlias = tuple[Place, ...]
"""What a directory of a stack is made of, the top first."""


@dataclass(frozen=True, slots=True)
class File:
    """What a stack shows under a name, when it is no directory. ``path``: below its layer."""

    layer: Layer
    place: Place
    path: str
    status: os.stat_result

    def is_same_inode(self, other: File) -> bool:
        """It is the very same file."""
        return (self.status.st_dev, self.status.st_ino) == (other.status.st_dev, other.status.st_ino)

    def looks_like(self, other: File) -> bool:
        """Everything but the content is the same."""
        mine, its = self.status, other.status
        return (mine.st_mode, mine.st_rdev) == (its.st_mode, its.st_rdev) and (
            not (stat.S_ISREG(mine.st_mode) or stat.S_ISLNK(mine.st_mode)) or mine.st_size == its.st_size
        )


class Level:
    """The directories that one directory of two stacks is made of, open."""

    def __init__(self, layers: Sequence[Layer], places: set[Place]) -> None:
        self._layers = layers
        self._places = places
        self._directories: dict[Place, Directory] = {}
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            for number, path in self._places:
                directory = self._layers[number].directory(path)
                if directory is not None:
                    opened.callback(directory.close)
                    self._directories[number, path] = directory
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def present(self, places: Places) -> Places:
        """Those that are still there."""
        return tuple(place for place in places if place in self._directories)

    def names(self, place: Place) -> Iterator[str]:
        """Of everything in one of the directories, whiteouts too."""
        yield from self._directories[place].names()

    def target(self, file: File) -> str | None:
        """Where a link points; None when it is gone."""
        return self._directories[file.place].target(file.path.rpartition("/")[2])

    def look(self, name: str, places: Places, stack: Sequence[int]) -> tuple[File | None, Places]:
        """What a stack shows under a name: a file, or what the directory of this name is made of.

        ``places``: what the stack's directory is made of, all present; ``stack``: the numbers of all its layers.
        """
        merged: list[Place] = []
        for position, place in enumerate(places):
            directory = self._directories[place]
            status = directory.status(name)
            if status is None:
                continue
            if is_whiteout(status) or directory.is_whiteout_by_mark(name, status):
                break
            path = name if place[1] == "." else f"{place[1]}/{name}"
            if not stat.S_ISDIR(status.st_mode):
                if merged or stat.S_ISSOCK(status.st_mode):
                    break
                return File(self._layers[place[0]], place, path, status), ()
            merged.append((place[0], path))
            if position == len(places) - 1 and place[0] == stack[-1]:
                break
            marks = _marks(self._layers[place[0]], path)
            if marks is None or marks.is_opaque:
                break
            if marks.redirect is not None and marks.redirect.startswith("/"):
                merged += _from_the_roots(self._layers, stack[stack.index(place[0]) + 1 :], marks.redirect[1:])
                break
            name = marks.redirect or name
        return None, tuple(merged)


@dataclass(frozen=True, slots=True)
class _Marks:
    is_opaque: bool
    redirect: str | None


def _marks(layer: Layer, path: str) -> _Marks | None:
    directory = layer.directory(path)
    if directory is None:
        return None
    try:
        return _Marks(directory.is_opaque, directory.redirect)
    finally:
        directory.close()


def _from_the_roots(layers: Sequence[Layer], numbers: Sequence[int], path: str) -> Iterator[Place]:
    """Where layers have a directory that was renamed above them: by its path in each, which they may rename again."""
    for number in numbers:
        step = _Descent(layers[number], path)
        if step.is_found:
            yield number, path
        if step.ends:
            return
        path = step.path_below


class _Descent:
    """One layer, followed along a path. ``ends``: layers below have no part in it; else they have ``path_below``."""

    def __init__(self, layer: Layer, path: str) -> None:
        self.is_found = self.ends = False
        self.path_below = path
        parts = path.split("/")
        for count, part in enumerate(parts, 1):
            here = layer.directory("/".join(parts[: count - 1]) or ".")
            if here is None:
                return
            try:
                status = here.status(part)
                hides = status is not None and here.is_whiteout_by_mark(part, status)
            finally:
                here.close()
            if status is None:
                return
            marks = None if hides or not stat.S_ISDIR(status.st_mode) else _marks(layer, "/".join(parts[:count]))
            if marks is None:
                self.ends = True
                return
            self.ends |= marks.is_opaque
            if marks.redirect is not None:
                self._follow(marks.redirect, parts, count)
        self.is_found = True

    def _follow(self, redirect: str, parts: Sequence[str], count: int) -> None:
        """The directory of the first ``count`` parts was renamed in this layer."""
        rest = list(parts[count:])
        if redirect.startswith("/"):
            self.ends = False  # whatever is opaque above it: it came from elsewhere
            self.path_below = "/".join([redirect[1:], *rest])
        else:
            # The part's own parents may have been renamed by this layer, too: what was found so far stands.
            before = self.path_below.split("/")[: -len(rest) - 1]
            self.path_below = "/".join([*before, redirect, *rest])
