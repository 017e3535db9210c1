"""Says in one short line what a value is: its class, its shape, the beginning of what it holds.

No method of a user's class is called, ``__repr__`` least of all: what is not of a class known here is shown as
``<module.Class object>``. Lengths are bounded before texts are made of them. ``variables`` stands above.
"""

from __future__ import annotations

import datetime as dt
import decimal
import types
from itertools import islice
from typing import Any

from .array_values import class_in_c
from .frame_values import pandas_class
from .raw_access import MISSING, attribute, inherits, type_name

MAX_TEXT = 200
_MAX_BITS = 400
_MAX_DEPTH = 2
_SHOWN = 8
_CUT = "..."
_SIZED = (list, tuple, dict, set, frozenset, str, bytes, bytearray)
_BRACKETS = {
    id(list): ("[", "]"),
    id(tuple): ("(", ")"),
    id(set): ("{", "}"),
    id(frozenset): ("{", "}"),
    id(dict): ("{", "}"),
}
_ZONES = (type(None), dt.timezone)


def shape(value: Any) -> list[int] | None:
    """The dimensions of an array or a table, the length of a collection; None for what has none."""
    kind = type(value)
    ndarray = class_in_c("numpy", "ndarray")
    if ndarray is not None and inherits(kind, ndarray):
        return list(ndarray.__dict__["shape"].__get__(value))
    if kind is pandas_class("DataFrame") or kind is pandas_class("Series"):
        return _frame_shape(value)
    if any(kind is known for known in _arrow_classes()):
        return [value.num_rows, value.num_columns] if hasattr(value, "num_rows") else [len(value)]
    for base in _SIZED:
        if inherits(kind, base):
            return [base.__len__(value)]
    return None


def text(value: object) -> str:
    """At most ``MAX_TEXT`` characters, on one line."""
    said = _text(value, 0)
    return said if len(said) <= MAX_TEXT else said[: MAX_TEXT - len(_CUT)] + _CUT


def _text(value: Any, depth: int) -> str:
    kind = type(value)
    if value is None or kind is bool or kind is float or kind is complex or kind is range:
        return repr(value)
    if kind is int:
        bits = value.bit_length()
        return repr(value) if bits <= _MAX_BITS else f"<int of {bits} bits>"
    if kind is str or kind is bytes:
        return repr(value) if len(value) <= MAX_TEXT else repr(value[:MAX_TEXT]) + _CUT
    if id(kind) in _BRACKETS:
        return _collection(value, depth)
    if inherits(kind, type):
        return f"<class {type_name(value)}>"
    return _library_text(value, kind, depth) or f"<{type_name(kind)} object>"


def _collection(value: Any, depth: int) -> str:
    first, last = _BRACKETS[id(type(value))]
    if depth == _MAX_DEPTH:
        return first + (_CUT if value else "") + last
    if type(value) is dict:
        shown = [f"{_text(k, depth + 1)}: {_text(v, depth + 1)}" for k, v in islice(value.items(), _SHOWN)]
    else:
        shown = [_text(item, depth + 1) for item in islice(value, _SHOWN)]
    if type(value) is tuple and len(value) == 1:
        return f"({shown[0]},)"
    if len(value) > _SHOWN:
        shown.append(_CUT)
    return first + ", ".join(shown) + last


def _library_text(value: Any, kind: type, depth: int) -> str | None:  # noqa: C901, PLR0911 - one line for each kind of value
    if kind is types.FunctionType:
        code = value.__code__
        names = code.co_varnames[: min(code.co_argcount + code.co_kwonlyargcount, _SHOWN)]
        return f"<function {value.__qualname__}({', '.join(names)})>"
    if kind is types.BuiltinFunctionType:
        return f"<builtin {value.__qualname__}>"
    if kind is types.ModuleType:
        name = attribute(value, "__name__")
        return f"<module {name}>" if type(name) is str else None
    if kind is decimal.Decimal or kind is dt.date or kind is dt.timedelta:
        return repr(value)
    if (kind is dt.datetime or kind is dt.time) and any(type(value.tzinfo) is zone for zone in _ZONES):
        return repr(value)
    if kind is class_in_c("numpy", "ndarray"):
        return _array_text(value, depth)
    if inherits(kind, class_in_c("numpy", "generic") or _Nothing) and not value.dtype.hasobject:
        return f"{value.dtype}({_text(value.tolist(), depth + 1)})"
    if kind is pandas_class("DataFrame"):
        return _frame_text(value)
    if kind is pandas_class("Series"):
        return _series_text(value)
    if any(kind is known for known in _arrow_classes()) and hasattr(value, "column_names"):
        return f"<{type_name(kind)} of {', '.join(value.column_names[:_SHOWN])}>"
    return None


class _Nothing:
    """What nothing inherits from."""


def _arrow_classes() -> list[type]:
    names = ("Table", "RecordBatch", "ChunkedArray")
    return [kind for kind in (class_in_c("pyarrow.lib", name) for name in names) if kind is not None]


def _array_text(value: Any, depth: int) -> str:
    if value.dtype.kind not in "biufcmMSUO":
        return f"array({_CUT}, dtype={value.dtype.kind})"
    shown = [_text(item, depth + 1) for item in value.flat[:_SHOWN].tolist()]
    if value.size > _SHOWN:
        shown.append(_CUT)
    return f"array([{', '.join(shown)}], dtype={value.dtype})"


def _frame_shape(value: Any) -> list[int] | None:
    manager = attribute(value, "_mgr")
    axes = attribute(manager, "axes")
    if type(axes) is not list:
        return None
    lengths = [_axis_length(axis) for axis in reversed(axes)]
    return None if None in lengths else [length for length in lengths if length is not None]


def _axis_length(axis: object) -> int | None:
    numbers = attribute(axis, "_range")
    if type(numbers) is range:
        return len(numbers)
    codes = attribute(axis, "_codes")
    held = attribute(axis, "_data") if codes is MISSING else next(iter(list.__iter__(codes)), MISSING)
    for name in (None, "_ndarray", "_pa_array", "_data", "_left"):
        inner = held if name is None else attribute(held, name)
        if inner is not MISSING:
            known = shape(inner)
            if known is not None:
                return known[0]
    return None


def _frame_text(value: Any) -> str:
    axes = attribute(attribute(value, "_mgr"), "axes")
    return f"DataFrame of {_labels(axes[0])}" if type(axes) is list else "<DataFrame>"


def _series_text(value: Any) -> str:
    blocks = attribute(attribute(value, "_mgr"), "blocks")
    held = attribute(blocks[0], "values") if type(blocks) is tuple and blocks else MISSING
    name = _text(attribute(value, "_name"), _MAX_DEPTH)
    if type(held) is class_in_c("numpy", "ndarray"):
        return f"Series {name}: {_array_text(held, 1)}"
    return f"Series {name}: {type_name(type(held))}"


def _labels(axis: object) -> str:
    """The first names of an axis."""
    numbers = attribute(axis, "_range")
    if type(numbers) is range:
        return _text(numbers, 1)
    held = attribute(axis, "_data")
    if type(held) is class_in_c("numpy", "ndarray"):
        shown, count = held.flat[: _SHOWN + 1].tolist(), held.size
    else:
        arrow = attribute(held, "_pa_array")
        if type(arrow) is not class_in_c("pyarrow.lib", "ChunkedArray"):
            return type_name(type(axis))
        shown, count = arrow.slice(0, _SHOWN).to_pylist(), len(arrow)
    texts = [_text(label, 1) for label in shown[:_SHOWN]] + [_CUT] * (count > _SHOWN)
    return f"[{', '.join(texts)}]"
