"""How values of builtin classes are read for a fingerprint: numbers, texts, collections, functions, modules.

Functions by their code and what it refers to, not by their lines; modules by name. The methods that are called are the
builtins' own, with the value as an argument, so that a class that inherits from them has no say. ``fingerprints``
calls these.
"""

from __future__ import annotations

import array
import gc
import struct
import sys
import types
from collections.abc import Callable
from typing import Any

from .fingerprints import CHUNK_BYTES, CHUNK_ITEMS, Atom, Children, Parts, SpentError, Walk, named
from .raw_access import MISSING, inherits, module_dict, module_entry, type_name

SHORT = 48
"""Bytes or characters that are not worth a digest of their own, or a look at the budget."""
MAX_SET_ITEMS = 1_000_000


def _text(walk: Walk, value: str) -> None:
    walk.emit("str", struct.pack("<Q", len(value)))
    for start in range(0, len(value), CHUNK_BYTES):
        part = value[start : start + CHUNK_BYTES].encode("utf-8", "surrogatepass")
        walk.emit("part", part) if len(part) < CHUNK_ITEMS else walk.feed(part)


def _int(walk: Walk, value: int) -> None:
    size = value.bit_length() // 8 + 1
    if size > SHORT:
        walk.budget.spend_bytes(size)
    walk.emit("int", value.to_bytes(size, "little", signed=True))


def _bytes(walk: Walk, value: bytes | bytearray) -> None:
    walk.emit(type_name(type(value)), struct.pack("<Q", len(value)))
    walk.feed(value)


def _code_flag(walk: Walk, value: object) -> None:
    walk.emit(type_name(type(value)))


def _number_text(walk: Walk, value: object) -> None:
    walk.emit(type_name(type(value)), repr(value).encode())


ATOMS: tuple[tuple[type, Atom], ...] = (
    (type(None), _code_flag),
    (type(Ellipsis), _code_flag),
    (type(NotImplemented), _code_flag),
    (bool, _number_text),
    (int, _int),
    (float, lambda walk, value: walk.emit("float", struct.pack("<d", value))),
    (complex, lambda walk, value: walk.emit("complex", struct.pack("<dd", value.real, value.imag))),
    (str, _text),
    (bytes, _bytes),
    (range, _number_text),
)


def _sequence(walk: Walk, value: Any) -> Children:
    kind = list if inherits(type(value), list) else tuple
    yield from walk.items(kind.__iter__(value), kind.__len__(value))


def _mapping(walk: Walk, value: dict[Any, Any]) -> Children:
    yield from walk.items(dict.keys(value), dict.__len__(value))
    yield from walk.items(dict.values(value), dict.__len__(value))


def _set(walk: Walk, value: Any) -> Children:
    kind = set if inherits(type(value), set) else frozenset
    count = kind.__len__(value)
    if count > min(walk.budget.items, MAX_SET_ITEMS):
        raise SpentError
    digests = []
    for item in kind.__iter__(value):
        walk.budget.spend_items()
        if type(item) is int and -(1 << 63) <= item < 1 << 63:
            digests.append(b"i" + struct.pack("<q", item))
        elif type(item) is str and len(item) < SHORT:
            digests.append(b"s" + item.encode("utf-8", "surrogatepass"))
        else:
            digests.append(b"d" + walk.apart(item))
    digests.sort()
    walk.emit("set", array.array("q", map(len, digests)).tobytes(), b"".join(digests))
    yield from ()


def _nothing(walk: Walk, _: object) -> Children:
    walk.emit("object")
    yield from ()


def _scalar_core(kind: type) -> Parts:
    """Of an int, str... of a class of the user's: the plain value in it, by the builtin's own methods."""
    plain: dict[int, Callable[[Any], object]] = {
        id(int): int.__int__,
        id(float): float.__float__,
        id(complex): lambda value: [complex.__dict__[part].__get__(value) for part in ("real", "imag")],
        id(str): str.__str__,
        id(bytes): lambda value: bytes.__getitem__(value, slice(None)),
        id(bytearray): lambda value: bytes(bytearray.__getitem__(value, slice(None))),
    }

    def parts(walk: Walk, value: object) -> Children:
        walk.emit(type_name(kind))
        yield plain[id(kind)](value)

    return parts


CORES: tuple[tuple[type, Parts], ...] = (
    (object, _nothing),
    (list, _sequence),
    (tuple, _sequence),
    (dict, _mapping),
    (set, _set),
    (frozenset, _set),
    *((kind, _scalar_core(kind)) for kind in (int, float, complex, str, bytes, bytearray)),
)


def _function(walk: Walk, value: types.FunctionType) -> Children:
    """One that a module has under its name is that name; any other is its code and what that refers to."""
    module, name = value.__module__, value.__qualname__
    walk.emit("function", name.encode("utf-8", "surrogatepass"))
    if type(module) is str and module != "__main__":
        yield module
        if module_entry(sys.modules.get(module), name) is value:
            return
    yield value.__code__
    yield value.__defaults__
    yield value.__kwdefaults__
    yield value.__closure__
    yield value.__dict__


def _code(walk: Walk, value: types.CodeType) -> Children:
    counts = (value.co_argcount, value.co_posonlyargcount, value.co_kwonlyargcount, value.co_flags)
    walk.emit("code", struct.pack("<4q", *counts), value.co_code, getattr(value, "co_exceptiontable", b""))
    yield value.co_name
    yield value.co_names
    yield value.co_varnames
    yield value.co_freevars
    yield value.co_cellvars
    yield value.co_consts


def _cell(walk: Walk, value: types.CellType) -> Children:
    try:
        content = value.cell_contents
    except ValueError:
        walk.emit("empty")
    else:
        yield content


def _module(walk: Walk, value: types.ModuleType) -> Children:
    yield "module"
    held: dict[Any, Any] = module_dict(value)
    name = next((entry for key, entry in list(held.items()) if type(key) is str and key == "__name__"), None)
    if type(name) is str:
        yield name
    else:
        walk.opaque("module")


def _builtin(walk: Walk, value: Any) -> Children:
    walk.emit("builtin", value.__qualname__.encode("utf-8", "surrogatepass"))
    yield value.__self__


def _descriptor(walk: Walk, value: Any) -> Children:
    walk.emit("descriptor", value.__name__.encode("utf-8", "surrogatepass"))
    yield from ()


def _proxy(walk: Walk, value: object) -> Children:
    """A mappingproxy asks what it stands for, which may be the user's; what it refers to is told by C code."""
    walk.emit("proxy")
    yield from gc.get_referents(value)


def _namespace(walk: Walk, value: types.SimpleNamespace) -> Children:
    yield from named(walk, types.SimpleNamespace.__dict__["__dict__"].__get__(value), ())


def members(*names: str) -> Parts:
    """Fields that C code holds, in a class that nobody can change or inherit these from."""

    def parts(walk: Walk, value: object) -> Children:
        walk.emit("members")
        for name in names:
            yield getattr(value, name, MISSING.__class__)

    return parts


EXACT: tuple[tuple[type, Parts], ...] = (
    (list, _sequence),
    (tuple, _sequence),
    (dict, _mapping),
    (set, _set),
    (frozenset, _set),
    (bytearray, _scalar_core(bytearray)),
    (slice, members("start", "stop", "step")),
    (types.FunctionType, _function),
    (types.CodeType, _code),
    (types.CellType, _cell),
    (types.ModuleType, _module),
    (types.MethodType, members("__func__", "__self__")),
    (types.BuiltinFunctionType, _builtin),
    (types.MethodWrapperType, _builtin),
    (types.GenericAlias, members("__origin__", "__args__")),
    (types.UnionType, members("__args__")),
    (staticmethod, members("__func__")),
    (classmethod, members("__func__")),
    (property, members("fget", "fset", "fdel")),
    (types.MappingProxyType, _proxy),
    (types.SimpleNamespace, _namespace),
    *(
        (kind, _descriptor)
        for kind in (
            types.MemberDescriptorType,
            types.GetSetDescriptorType,
            types.WrapperDescriptorType,
            types.MethodDescriptorType,
            types.ClassMethodDescriptorType,
        )
    ),
)
