"""How pandas' tables, series and indexes are read for a fingerprint: by their axes and the arrays in their blocks.

Column by column, so that how pandas has packed columns into blocks is no state, nor what it keeps to answer quicker.
Fields are read as C code and instances hold them (``raw_access``), and no method of pandas is called; a pandas that
holds them elsewhere makes the fingerprint partial. ``fingerprints`` calls these; ``array_values`` stands below.
"""

from __future__ import annotations

import hashlib
import sys
import types
from typing import Any

from .array_values import class_in_c
from .fingerprints import CHUNK_BYTES, Children, Parts, SpentError, Walk, named
from .raw_access import MISSING, attribute, inherits, instance_dict, module_dict, module_entry, type_name

CACHES = ("_cache", "_id", "_references", "_item_cache", "_reset_cache", "_typ", "_readonly")
_HELD_BY_C = ("_ndarray", "_dtype", "_value", "_creso", "tzinfo", "_dtype_code", "_n", "n", "normalize", "weekday",
              "startingMonth", "month", "day_of_month", "week", "closed")  # fmt: skip


def frame_rules() -> list[tuple[type, Parts]]:
    """Rules for the classes of the pandas that is loaded now, if one is."""
    found: list[tuple[type, Parts]] = []
    for name, parts in (("DataFrame", frame), ("Series", _series)):
        kind = pandas_class(name)
        if kind is not None:
            found.append((kind, parts))
    for module in ("pandas", "pandas.arrays", "pandas.core.dtypes.dtypes", "pandas._libs.tslibs.offsets",
                   "pandas._libs.missing", "pandas._libs.tslibs.nattype", "pandas.core.indexes.frozen",
                   "pandas.core.flags", "pandas.core.arrays.string_arrow"):  # fmt: skip
        found += [(kind, _structure) for kind in _classes(module) if not any(kind is known for known, _ in found)]
    return found


def pandas_class(name: str) -> Any:
    """``pandas.<name>``, or None."""
    found = module_entry(sys.modules.get("pandas"), name)
    return found if inherits(type(found), type) else None


def _classes(name: str) -> list[type]:
    module = sys.modules.get(name)
    if type(module) is not types.ModuleType:
        return []
    held = list(module_dict(module).values())
    return [kind for kind in held if inherits(type(kind), type) and type_name(kind).startswith("pandas.")]


def frame(walk: Walk, value: Any) -> Children:
    """Read a DataFrame, of that very class."""
    manager = attribute(value, "_mgr")
    axes, blocks = attribute(manager, "axes"), attribute(manager, "blocks")
    if type(axes) is not list or type(blocks) is not tuple:
        walk.opaque("DataFrame")
        return
    yield from axes
    columns: dict[int, bytes] = {}
    for block in blocks:
        held = attribute(block, "values")
        places = attribute(attribute(block, "_mgr_locs"), "as_array")
        columns.update(zip(places.tolist(), _rows(walk, held), strict=False))
    walk.emit("columns", *[columns[place] for place in sorted(columns)])
    yield attribute(value, "_attrs")


def _rows(walk: Walk, values: Any) -> list[bytes]:
    """A digest of each column in a block, which holds columns as rows."""
    ndarray = class_in_c("numpy", "ndarray")
    if ndarray is None or type(values) is not ndarray or values.ndim != 2:
        return [walk.apart(values)]
    if values.dtype.hasobject:
        return [walk.apart(row) for row in values]
    if values.dtype.kind not in "biufcmMSUV":
        walk.opaque(type_name(type(values.dtype)))
        return []
    if values.nbytes > walk.budget.size:
        raise SpentError
    start = hashlib.blake2b(f"{values.dtype.str} {values.shape[1]} ".encode(), digest_size=16)
    digests: list[bytes] = []
    at_once = max(1, 4 * CHUNK_BYTES // max(1, values.nbytes // max(1, values.shape[0])))
    for first in range(0, values.shape[0], at_once):
        part = values[first : first + at_once]
        for row in part if part.flags.c_contiguous else part.copy("C"):
            digest = start.copy()
            walk.budget.spend_items()
            _update(walk, digest, row.view("u1"))
            digests.append(digest.digest())
    return digests


def _update(walk: Walk, digest: Any, data: Any) -> None:
    for start in range(0, len(data), CHUNK_BYTES):
        part = data[start : start + CHUNK_BYTES]
        walk.budget.spend_bytes(len(part))
        digest.update(part)


def _series(walk: Walk, value: Any) -> Children:
    manager = attribute(value, "_mgr")
    axes, blocks = attribute(manager, "axes"), attribute(manager, "blocks")
    if type(axes) is not list or type(blocks) is not tuple or len(blocks) != 1:
        walk.opaque("Series")
        return
    yield axes[0]
    yield attribute(value, "_name")
    yield attribute(blocks[0], "values")
    yield attribute(value, "_attrs")


def _structure(walk: Walk, value: Any) -> Children:
    """An index, an extension array, a type, an offset, a point in time: what C code and the instance hold."""
    walk.emit("pandas")
    if inherits(type(value), list):
        yield from walk.items(list.__iter__(value), list.__len__(value))
    for name in _HELD_BY_C:
        entry = attribute(value, name)
        if entry is not MISSING:
            yield name
            yield entry
    held = instance_dict(value)
    if held is not None:
        yield from named(walk, held, CACHES)
