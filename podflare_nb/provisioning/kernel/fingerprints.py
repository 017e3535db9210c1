"""Turns a value into a digest of its state: equal state, equal digest, in two processes that were forked from one.

It walks a value as it is held (``raw_access``) and calls no method of a user's class. Order counts in lists and dicts,
not in sets; sharing and cycles count, addresses do not; a class is told by its name, or by what it holds when it was
written in a cell. How values of known classes are read: ``builtin_values`` and its like.
What nobody can look into (a generator, a lock, an object of C code) makes a digest ``partial``: another digest then
still means another state, the same one means nothing. Changes nothing: it imports nothing and keeps nothing.
"""

from __future__ import annotations

import array
import hashlib
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from .raw_access import Layout, class_dict, inherits, mro, type_name

CHUNK_ITEMS = 4096
CHUNK_BYTES = 4 << 20
MAX_NESTED_WALKS = 20
"""Of sets within sets, which recursion follows."""
_QUICK_ITEMS = 16
"""So many numbers or texts of one kind cost as much as one other item."""
_CHECK_EVERY = 256
MAX_OBJECTS = 200_000
"""That a walk remembers, at some 130 bytes each: the sandbox may be close to its limit of memory."""
_SKIPPED_OF_CLASSES = ("__dict__", "__weakref__", "__doc__", "__firstlineno__", "__static_attributes__", "_abc_impl",
                       "__annotations__", "__annotations_cache__", "__annotate__", "__annotate_func__")  # fmt: skip
Children = Iterator[object]


class SpentError(Exception):
    """The budget is."""


class Budget:
    """What one or several walks may cost together: until ``deadline``, so many items and bytes."""

    def __init__(self, deadline: float, items: int, size: int) -> None:
        self.deadline = deadline
        self.items = items
        self.size = size
        self._unchecked = 0

    def spend_items(self, count: int = 1) -> None:
        """Raise SpentError rather than go over."""
        self.items -= count
        self._unchecked += count
        if self.items < 0:
            raise SpentError
        if self._unchecked >= _CHECK_EVERY:
            self._unchecked = 0
            self.check_time()

    def spend_bytes(self, count: int) -> None:
        """Raise SpentError rather than go over."""
        self.size -= count
        if self.size < 0:
            raise SpentError
        self.check_time()

    def check_time(self) -> None:
        """Raise SpentError after the deadline."""
        if time.monotonic() > self.deadline:
            raise SpentError


class Walk:
    """One digest in the making. ``partial``: something in the value cannot be seen."""

    def __init__(self, rules: Rules, budget: Budget, above: Walk | None = None) -> None:
        self.budget = budget
        self.partial = False
        self._rules = rules
        self.above = above
        self.depth: int = 0 if above is None else above.depth + 1
        self._hash = hashlib.blake2b(digest_size=16)
        self._pending = bytearray()
        self.seen: dict[int, int] = {}
        self.first: int = 0 if above is None else above.first + len(above.seen)
        self._kept: list[object] = []

    def run(self, value: object) -> bytes:
        """Walk and give the digest. Raises SpentError, and what reading memory that changes may raise."""
        stack: list[Children] = [iter((value,))]
        while stack:
            for item in stack[-1]:
                children = self._look(item)
                if children is not None:
                    stack.append(children)
                    break
            else:
                stack.pop()
        self._flush()
        return self._hash.digest()

    def emit(self, tag: str, *contents: bytes) -> None:
        """Put something into the digest, so that nothing else looks like it."""
        self._pending += tag.encode("utf-8", "surrogatepass") + struct.pack(
            "<BQ", len(contents), sum(map(len, contents))
        )
        for content in contents:
            self._pending += struct.pack("<Q", len(content)) + content
        if len(self._pending) > 1 << 16:
            self._flush()

    def feed(self, data: Any) -> None:
        """Put a buffer of bytes into the digest, after an ``emit`` that tells how long it is."""
        self._flush()
        with memoryview(data) as whole:
            for start in range(0, len(whole), CHUNK_BYTES):
                part = whole[start : start + CHUNK_BYTES]
                self.budget.spend_bytes(len(part))
                self._hash.update(part)

    def opaque(self, name: str) -> None:
        """Something is here that cannot be looked into."""
        self.partial = True
        self.emit("?", name.encode("utf-8", "surrogatepass"))

    def apart(self, value: object) -> bytes:
        """Give the digest of a part for itself: of a set's element, of a table's column."""
        if self.depth >= MAX_NESTED_WALKS:
            self.partial = True
            return b"deep"
        walk = Walk(self._rules, self.budget, self)
        digest = walk.run(value)
        self.partial |= walk.partial
        return digest

    def items(self, values: Iterable[object], count: int) -> Children:
        """Go through many values; those of one simple kind in a row are read at C's speed."""
        if count // _QUICK_ITEMS > self.budget.items:
            raise SpentError
        self.emit("items", struct.pack("<Q", count))
        iterator = iter(values)
        while part := list(islice(iterator, CHUNK_ITEMS)):
            if not self._quick(part):
                yield from part

    def _quick(self, part: list[Any]) -> bool:
        kinds = set(map(id, map(type, part)))  # a set of the types themselves would ask metaclasses for hashes
        if len(kinds) != 1 or len(part) < _QUICK_ITEMS:
            return False
        (kind,) = kinds
        if kind == id(float):
            self.emit("floats", array.array("d", part).tobytes())
        elif kind == id(int):
            try:
                self.emit("ints", array.array("q", part).tobytes())
            except OverflowError:
                return False
        elif kind == id(str) and sum(map(len, part)) < CHUNK_BYTES:
            text = "".join(part).encode("utf-8", "surrogatepass")
            self.emit("texts", array.array("q", map(len, part)).tobytes(), text)
            self.budget.spend_bytes(len(text))
        else:
            return False
        self.budget.spend_items(1 + len(part) // _QUICK_ITEMS)
        return True

    def _look(self, value: object) -> Children | None:
        self.budget.spend_items()
        kind = type(value)
        atom = self._rules.atoms.get(id(kind))
        if atom is not None:
            atom(self, value)
            return None
        number = self._number(value)
        if number is not None:
            self.emit("again", struct.pack("<Q", number))
            return None
        if len(self._kept) >= MAX_OBJECTS:
            raise SpentError
        self.seen[id(value)] = self.first + len(self.seen)
        self._kept.append(value)  # an object that ends would leave its address to another
        return self._rules.parts(self, value)

    def _number(self, value: object) -> int | None:
        walk: Walk | None = self
        while walk is not None:
            number = walk.seen.get(id(value))
            if number is not None:
                return number
            walk = walk.above
        return None

    def _flush(self) -> None:
        if self._pending:
            self._hash.update(self._pending)
            self._pending.clear()


Atom = Callable[[Walk, Any], None]
Parts = Callable[[Walk, Any], Children]


class Rules:
    """How a value of each class is read: ``atoms`` have no parts. Keyed by the identity of the class.

    ``exact``: of instances of that very class; ``cores``: of what the builtin holds that a class inherits from. A class
    that has no rule is read by its core, slots and dict.
    """

    def __init__(
        self,
        atoms: Iterable[tuple[type, Atom]],
        exact: Iterable[tuple[type, Parts]],
        cores: Iterable[tuple[type, Parts]],
    ) -> None:
        self.atoms = {id(kind): atom for kind, atom in atoms}
        self._exact = {id(kind): parts for kind, parts in exact}
        self._cores = {id(kind): parts for kind, parts in cores}
        self._layouts: dict[int, Layout] = {}

    def parts(self, walk: Walk, value: object) -> Children:
        """Begin to read a value that is no atom."""
        kind = type(value)
        exact = self._exact.get(id(kind))
        if exact is not None:
            walk.emit(type_name(kind))
            return exact(walk, value)
        if inherits(kind, type):
            return _class(walk, value)
        layout = self._layouts.get(id(kind))
        if layout is None:
            layout = self._layouts[id(kind)] = Layout(kind)
        return self._instance(walk, value, layout)

    def _instance(self, walk: Walk, value: Any, layout: Layout) -> Children:
        walk.emit("instance", layout.name.encode("utf-8", "surrogatepass"))
        core = self._cores.get(id(layout.core))
        if core is None and inherits(layout.core, BaseException):
            core = _exception
        if core is not None:
            yield from core(walk, value)
        if core is None or not layout.is_open:
            walk.opaque(layout.name)
        for name, entry in layout.slots_of(value):
            yield name
            yield entry
        held = layout.dict_of(value)
        if held is not None:
            yield from named(walk, held, ())


def named(walk: Walk, held: dict[Any, Any], without: tuple[str, ...]) -> Children:
    """Go through the dict of an instance or a class."""
    for key, value in list(dict.items(held)):
        if type(key) is str and key in without:
            continue
        walk.emit("name")
        yield key
        yield value


def _exception(walk: Walk, value: BaseException) -> Children:
    walk.emit("exception")
    yield BaseException.__dict__["args"].__get__(value)


def _class(walk: Walk, value: Any) -> Children:
    """A class that was written in a cell is what it holds; any other is its name."""
    name = type_name(value)
    walk.emit("class", name.encode("utf-8", "surrogatepass"))
    if name.startswith("__main__."):
        yield mro(value)[1:]
        yield from named(walk, dict(class_dict(value).items()) if _has_plain_names(value) else {}, _SKIPPED_OF_CLASSES)


def _has_plain_names(value: type) -> bool:
    return all(type(key) is str for key in class_dict(value))
