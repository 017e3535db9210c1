"""How values of the standard library are read for a fingerprint: dates, decimals, deques, paths, patterns.

Only instances of the very classes of the library, whose fields C code or the library's own slots hold; a class that
inherits from one is not looked into here. ``fingerprints`` calls these.
"""

from __future__ import annotations

import array
import collections
import datetime as dt
import decimal
import functools
import pathlib
import random
import re
from typing import Any

from .builtin_values import ATOMS, members
from .fingerprints import Children, Parts, SpentError, Walk
from .raw_access import MISSING, attribute

_SIMPLE = {id(kind) for kind, _ in ATOMS}


def _deque(walk: Walk, value: collections.deque[Any]) -> Children:
    yield value.maxlen
    yield from walk.items(value, len(value))


def _default_dict(walk: Walk, value: collections.defaultdict[Any, Any]) -> Children:
    yield value.default_factory
    yield from walk.items(dict.keys(value), dict.__len__(value))
    yield from walk.items(dict.values(value), dict.__len__(value))


def _ordered_dict(walk: Walk, value: collections.OrderedDict[Any, Any]) -> Children:
    """Its order is apart from the dict's, and following it hashes the keys: not those of the user's classes."""
    if dict.__len__(value) > walk.budget.items:
        raise SpentError
    keys = list(dict.keys(value))
    if not all(id(type(key)) in _SIMPLE for key in keys):
        walk.opaque("order")
        yield from walk.items(keys, len(keys))
        yield from walk.items(dict.values(value), len(keys))
        return
    for key, entry in value.items():
        yield key
        yield entry


def _decimal(walk: Walk, value: decimal.Decimal) -> Children:
    walk.emit("digits", str(value).encode())
    yield from ()


def _array(walk: Walk, value: array.array[Any]) -> Children:
    walk.emit(value.typecode)
    yield value.tobytes()


def _path(walk: Walk, value: pathlib.PurePath) -> Children:
    """Not the forms of it that are kept once they were asked for."""
    for name in ("_raw_paths", "_raw_path", "_drv", "_root", "_parts"):
        entry = attribute(value, name)
        if entry is not MISSING:
            walk.emit("path")
            yield entry
            if name.startswith("_raw_path"):
                return


def _random(walk: Walk, value: random.Random) -> Children:
    walk.emit("state")
    yield _twister_state(value)
    yield attribute(value, "gauss_next")


def _timezone(walk: Walk, value: dt.timezone) -> Children:
    walk.emit("offset")
    yield dt.timezone.__getinitargs__(value)  # type: ignore[attr-defined]  # for pickling, hence not in the stubs


_twister_state: Any = random.Random.__mro__[1].__dict__["getstate"]

STANDARD: tuple[tuple[type, Parts], ...] = (
    (collections.deque, _deque),
    (collections.defaultdict, _default_dict),
    (collections.OrderedDict, _ordered_dict),
    (dt.date, members("year", "month", "day")),
    (dt.time, members("hour", "minute", "second", "microsecond", "fold", "tzinfo")),
    (
        dt.datetime,
        members("year", "month", "day", "hour", "minute", "second", "microsecond", "fold", "tzinfo"),
    ),
    (dt.timezone, _timezone),
    (dt.timedelta, members("days", "seconds", "microseconds")),
    (decimal.Decimal, _decimal),
    (array.array, _array),
    (functools.partial, members("func", "args", "keywords")),
    (re.Pattern, members("pattern", "flags")),
    (random.Random, _random),
    (pathlib.PosixPath, _path),
    (pathlib.PurePosixPath, _path),
)
