"""What differs between two branches, from the service's JSON to text that a model can read.

The first line is a summary, for people too. Everything in it comes from kernels and file systems of a jail, so
counts, names and lengths are bounded here. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..protocol.observation import shorten

_SHOWN = 30
"""Of each kind of difference."""
_NAME = 120
_REPR = 160


def compared(difference: Mapping[str, Any], first: str, second: str, limit: int) -> str:
    """A summary line, then what is only in one of them and what differs; at most about ``limit`` characters."""
    files, variables = _part(difference, "files"), _part(difference, "variables")
    cells = _part(difference, "cells")
    cells = _part(cells, "summary") or cells
    counts = [
        _count("files", len(_items(files, "added")), len(_items(files, "removed")), len(_items(files, "modified"))),
        _count("variables", *(len(_items(variables, kind)) for kind in ("added", "removed", "changed"))),
        _count("cells", *(_number(cells.get(kind)) for kind in ("added", "removed", "modified"))),
    ]
    summary = "; ".join(counted for counted in counts if counted) or "nothing"
    lines = [f"From {first} to {second}: {summary}."]
    lines += _file_lines(files, first, second)
    lines += _variable_lines(variables, first, second)
    return shorten("\n".join(lines), limit)


def _file_lines(files: Mapping[str, Any], first: str, second: str) -> list[str]:
    lines = _section(f"Files only in {second}", [_file(item) for item in _items(files, "added")])
    lines += _section(f"Files only in {first}", [_file(item) for item in _items(files, "removed")])
    changed = [
        f"{_name(item, 'path')}: {_number(item.get('size')):,} -> {_number(item.get('other_size')):,} bytes"
        for item in _items(files, "modified")
    ]
    lines += _section("Files that differ", changed)
    if files.get("truncated") is True:
        lines.append("[there are more files that differ than were looked at]")
    return lines


def _variable_lines(variables: Mapping[str, Any], first: str, second: str) -> list[str]:
    lines = _section(f"Variables only in {second}", [_variable(item) for item in _items(variables, "added")])
    lines += _section(f"Variables only in {first}", [_variable(item) for item in _items(variables, "removed")])
    changed = [
        f"{_name(item, 'name')}: {_value(_part(item, 'before'))} -> {_value(_part(item, 'after'))}"
        for item in _items(variables, "changed")
    ]
    lines += _section("Variables that differ", changed)
    unknown = variables.get("unknown")
    if isinstance(unknown, list) and unknown:
        lines += _section("Variables that could not be compared", [str(name)[:_NAME] for name in unknown])
    return lines


def _section(title: str, items: list[str]) -> list[str]:
    if not items:
        return []
    more = [f"  [... and {len(items) - _SHOWN:,} more]"] if len(items) > _SHOWN else []
    return [f"{title}:", *(f"  {item}" for item in items[:_SHOWN]), *more]


def _file(item: Mapping[str, Any]) -> str:
    return f"{_name(item, 'path')} ({_number(item.get('size')):,} bytes)"


def _variable(item: Mapping[str, Any]) -> str:
    return f"{_name(item, 'name')}: {_value(item)}"


def _value(item: Mapping[str, Any]) -> str:
    shape = f" {item['shape']}" if item.get("shape") is not None else ""
    shown = " ".join(str(item.get("repr") or "").split())
    shown = shown if len(shown) <= _REPR else shown[:_REPR] + "..."
    return f"{str(item.get('type') or 'object')[:_NAME]}{str(shape)[:_NAME]} {shown}".strip()


def _name(item: Mapping[str, Any], key: str) -> str:
    return " ".join(str(item.get(key)).split())[:_NAME]


def _count(noun: str, added: int, removed: int, changed: int) -> str:
    counts = {"added": added, "removed": removed, "changed": changed}
    told = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
    return f"{noun}: {told}" if told else ""


def _part(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = value.get(key)
    return part if isinstance(part, Mapping) else {}


def _items(part: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    items = part.get(key)
    return [item for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
