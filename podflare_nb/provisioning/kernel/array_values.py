"""How numpy's arrays and pyarrow's tables are read for a fingerprint: by their type, shape and bytes.

The libraries are taken as the process has them, never imported; only classes in C are trusted with a call. What is in
an array of objects is read as any other value; a layout in memory (strides, order) is no state. ``fingerprints`` calls
these, ``frame_values`` stands above.
"""

from __future__ import annotations

import struct
import sys
from typing import Any

from .builtin_values import members
from .fingerprints import CHUNK_BYTES, Children, Parts, SpentError, Walk
from .raw_access import MISSING, inherits, is_heap_type, module_entry, mro, type_name

_PLAIN_KINDS = "biufcmMSUV"
_BLOCK_BYTES = 4 * CHUNK_BYTES


def class_in_c(module: str, name: str) -> Any:
    """A class of a module that is loaded, if it is one that no class statement made; else None."""
    found = module_entry(sys.modules.get(module), name)
    return found if inherits(type(found), type) and not is_heap_type(found) else None


def array_rules() -> tuple[list[tuple[type, Parts]], list[tuple[type, Parts]]]:
    """Rules for what is loaded now: of exact classes, and of cores that others inherit from."""
    exact: list[tuple[type, Parts]] = []
    cores: list[tuple[type, Parts]] = []
    ndarray = class_in_c("numpy", "ndarray")
    if ndarray is not None:
        exact.append((ndarray, numpy_array))
        cores.append((ndarray, lambda walk, value: numpy_array(walk, ndarray.view(value, ndarray))))
        exact += [(kind, _numpy_scalar) for kind in _subclasses(class_in_c("numpy", "generic"))]
        exact += [(kind, _dtype) for kind in _subclasses(class_in_c("numpy", "dtype"))]
    for name in ("Table", "RecordBatch", "ChunkedArray", "Array"):
        exact += [(kind, _arrow) for kind in _subclasses(class_in_c("pyarrow.lib", name))]
    for name in ("DataType", "Schema"):
        exact += [(kind, _arrow_type) for kind in _subclasses(class_in_c("pyarrow.lib", name))]
    zone = class_in_c("zoneinfo", "ZoneInfo")
    if zone is not None:
        exact.append((zone, members("key")))
    return exact, cores


def _subclasses(kind: type | None) -> list[type]:
    """It and all below it that are in C."""
    if kind is None:
        return []
    found: list[type] = []
    pending: list[type] = [kind]
    while pending:
        found.append(pending.pop())
        subclasses: list[type] = type.__subclasses__(found[-1])
        pending += [below for below in subclasses if not is_heap_type(below)]
    return found


def _dtype(walk: Walk, value: Any) -> Children:
    walk.emit("dtype", value.str.encode(), type_name(type(value)).encode())
    if value.names is not None:
        for name in value.names:
            yield name
            yield value.fields[name][0]
            yield value.fields[name][1]
    if value.subdtype is not None:
        yield value.subdtype[0]
        yield value.subdtype[1]


def numpy_array(walk: Walk, value: Any) -> Children:
    """Read an ndarray, of that very class."""
    walk.emit("array", struct.pack(f"<{value.ndim}q", *value.shape))
    yield value.dtype
    if value.dtype.hasobject:
        yield from walk.items(value.flat, value.size)
    elif value.dtype.kind in _PLAIN_KINDS:
        if value.nbytes > walk.budget.size:
            raise SpentError
        feed_array(walk, value)
    else:
        walk.opaque(type_name(type(value.dtype)))


def feed_array(walk: Walk, value: Any) -> None:
    """The bytes in C's order, whatever the order in memory is; copied in blocks if they must be."""
    if value.nbytes == 0:
        return
    if value.flags.c_contiguous:
        walk.feed(value.reshape(-1).view("u1"))
        return
    row_bytes = value.nbytes // value.shape[0]
    rows = max(1, _BLOCK_BYTES // row_bytes)
    for start in range(0, value.shape[0], rows):
        walk.budget.check_time()
        if row_bytes > _BLOCK_BYTES and value.ndim > 1:
            feed_array(walk, value[start])
        else:
            walk.feed(value[start : start + rows].copy("C").reshape(-1).view("u1"))


def _numpy_scalar(walk: Walk, value: Any) -> Children:
    yield value.dtype
    if value.dtype.hasobject:
        walk.opaque("numpy.void")
    else:
        yield value.tobytes()


def _arrow_type(walk: Walk, value: Any) -> Children:
    if _has_extension(value):
        walk.opaque("pyarrow extension type")
    else:
        walk.emit("arrow type", str(value).encode("utf-8", "surrogatepass"))
    yield from ()


def _has_extension(value: Any) -> bool:
    """An extension type may be the user's class, which is asked how it is written."""
    if type_name(type(value)) == "pyarrow.lib.Schema":
        return any(_has_extension(value.field(number).type) for number in range(len(value)))
    if any(base.__name__ == "BaseExtensionType" for base in mro(type(value))):
        return True
    return any(_has_extension(value.field(number).type) for number in range(value.num_fields))


class _Sink:
    """Takes what pyarrow writes into the digest."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self.closed = False

    def write(self, data: Any) -> int:
        self._walk.feed(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        self.closed = True


def _arrow(walk: Walk, value: Any) -> Children:
    """As it would be sent: without what a slice leaves out of its buffers."""
    lib, ipc = sys.modules.get("pyarrow.lib"), sys.modules.get("pyarrow.ipc")
    kind = value.schema if hasattr(value, "schema") else value.type
    if _has_extension(kind) or module_entry(ipc, "new_stream") is MISSING:
        walk.opaque(type_name(type(value)))
        return
    if value.nbytes > walk.budget.size:
        raise SpentError
    if not hasattr(value, "schema"):
        if hasattr(value, "combine_chunks") and value.num_chunks > 1 and value.nbytes < _BLOCK_BYTES:
            value = value.combine_chunks()  # how it was put together is no state; but copies must stay small
        value = module_entry(lib, "Table").from_arrays([value], names=["values"])
    sink = module_entry(lib, "PythonFile")(_Sink(walk), mode="w")
    options = module_entry(lib, "IpcWriteOptions")(use_threads=False)
    with module_entry(ipc, "new_stream")(sink, value.schema, options=options) as stream:
        stream.write(value)
    yield from ()
