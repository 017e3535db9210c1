"""What differs between two branches, as the service answers it: their files, their variables, their notebooks' cells.

Pure but for one short-lived process (``notebook_diff``), hence called in a thread. Kernels describe their variables
themselves, so names, types, shapes, texts and fingerprints are whatever a hostile kernel says: here everything is taken
apart, checked, bounded and put together anew, and nothing of it is run. A kernel can only lie about its own state.
Above: ``branches``.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_VARIABLES = 10_000
MAX_FILES = 10_000
MAX_NAME, MAX_TYPE, MAX_REPR = 200, 200, 240
MAX_DIMENSIONS = 32
MAX_PATH = 4 * 4400
"""Characters: a byte that is no UTF-8 takes four."""
MAX_NUMBER = 1 << 63
MAX_DIFF_BYTES = 8 << 20
MAX_NOTEBOOK_BYTES = 16 << 20
NBDIME_SECONDS = 15.0
_FINGERPRINT_DIGITS = range(16, 129)
_EMPTY = {"metadata": {}, "nbformat": 4, "nbformat_minor": 5}
_SCRIPT = Path(__file__).with_name("notebook_diff.py")


def compare(
    files: Mapping[str, Any],
    variables: tuple[Mapping[str, Any], Mapping[str, Any]],
    notebooks: tuple[Mapping[str, Any], Mapping[str, Any]],
) -> dict[str, Any]:
    """Put the difference together; in each pair the second is the other, and what only it has is ``added``.

    ``files``: what ``jail.overlay_changes`` found; ``variables``: what ``kernel.variables`` of either says;
    ``notebooks``: nbformat 4 as JSON.
    """
    return {"files": file_changes(files), "variables": variable_changes(*variables), "cells": cells(*notebooks)}


def file_changes(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Give ``{"added": [{path, size}], "removed", "modified": [{path, size, other_size}], "truncated"}``, checked."""
    checked: dict[str, Any] = {}
    truncated = raw.get("truncated") is not False
    for kind, fields in (("added", ("size",)), ("removed", ("size",)), ("modified", ("size", "other_size"))):
        entries = _list(raw.get(kind))
        truncated |= len(entries) > MAX_FILES
        checked[kind] = [
            {"path": _plain(entry["path"], MAX_PATH), **{field: _count(entry.get(field)) or 0 for field in fields}}
            for entry in entries[:MAX_FILES]
            if isinstance(entry, dict) and isinstance(entry.get("path"), str)
        ]
    return {**checked, "truncated": truncated}


@dataclass(frozen=True, slots=True)
class _Variable:
    name: str
    type: str
    shape: tuple[int, ...] | None
    repr: str
    fingerprint: str | None
    unknown: bool

    def told(self) -> dict[str, Any]:
        return {"type": self.type, "shape": None if self.shape is None else list(self.shape), "repr": self.repr}

    def differs(self, other: "_Variable") -> bool | None:
        """None when nobody knows."""
        if (self.type, self.shape) != (other.type, other.shape):
            return True
        if self.fingerprint is None or other.fingerprint is None:
            return None
        if self.fingerprint != other.fingerprint:
            return True
        return None if self.unknown or other.unknown else False


def variable_changes(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Give ``{"added": [{name, type, shape, repr}], "removed", "changed": [{name, before, after}], "unknown": [name],
    "truncated"}``, by name. A name that a list which was cut does not have is no difference.
    """
    mine, cut = _variables(one)
    theirs, other_cut = _variables(other)
    added = [theirs[name] for name in sorted(theirs.keys() - mine.keys())] if not cut else []
    removed = [mine[name] for name in sorted(mine.keys() - theirs.keys())] if not other_cut else []
    changed, unknown = [], []
    for name in sorted(mine.keys() & theirs.keys()):
        differs = mine[name].differs(theirs[name])
        if differs:
            changed.append({"name": name, "before": mine[name].told(), "after": theirs[name].told()})
        elif differs is None:
            unknown.append(name)
    return {
        "added": [{"name": variable.name, **variable.told()} for variable in added],
        "removed": [{"name": variable.name, **variable.told()} for variable in removed],
        "changed": changed,
        "unknown": unknown,
        "truncated": cut or other_cut,
    }


def _variables(raw: Mapping[str, Any]) -> tuple[dict[str, _Variable], bool]:
    """The variables by name, and whether there are more."""
    entries = _list(raw.get("variables"))
    found = [variable for variable in map(_variable, entries[:MAX_VARIABLES]) if variable is not None]
    return {variable.name: variable for variable in found}, (
        raw.get("truncated") is not False or len(found) < len(entries)
    )


def _variable(raw: object) -> _Variable | None:
    if not isinstance(raw, dict) or not isinstance(raw.get("name"), str):
        return None
    name = _plain(raw["name"], MAX_NAME)
    shape, fingerprint = raw.get("shape"), raw.get("fingerprint")
    dimensions = [_count(length) for length in _list(shape)[:MAX_DIMENSIONS]]
    is_digest = isinstance(fingerprint, str) and len(fingerprint) in _FINGERPRINT_DIGITS
    return _Variable(
        name,
        _text(raw.get("type"), MAX_TYPE),
        tuple(length or 0 for length in dimensions) if isinstance(shape, list) else None,
        _text(raw.get("repr"), MAX_REPR),
        fingerprint if is_digest else None,
        raw.get("unknown") is not False,
    )


def cells(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Give ``{"diff": nbdime's operations, "summary": {"added", "removed", "modified"}}``, the counts of cells.

    Where the difference is too large, or takes too long, ``diff`` is None and ``message`` a sentence that says so; the
    counts are by the cells' ids then. Blocks for ``NBDIME_SECONDS`` at most.
    """
    mine, its = _list(one.get("cells")), _list(other.get("cells"))
    start = _common(mine, its)
    end = _common(mine[start:][::-1], its[start:][::-1])
    # Without the notebooks' own metadata: whose they are and of when differs always.
    shorter = [{**_EMPTY, "cells": part[start : len(part) - end]} for part in (mine, its)]
    if shorter[0] == shorter[1]:
        return {"diff": [], "summary": _counted([])}
    payload = json.dumps(shorter).encode()
    if len(payload) > MAX_NOTEBOOK_BYTES:
        return _only_counted(shorter, "The notebooks differ in too much to be compared line by line.")
    diff = _nbdime(payload)
    if isinstance(diff, str):
        return _only_counted(shorter, diff)
    of_cells = list(_operations_on_cells(diff))
    for operation in of_cells:
        operation["key"] += start  # nbdime saw the cells from there on
    return {"diff": diff, "summary": _counted(of_cells)}


def _nbdime(payload: bytes) -> list[dict[str, Any]] | str:
    """The operations, or a sentence that says why there are none."""
    try:
        process = subprocess.run(  # noqa: S603  # our own Python and our own script
            [sys.executable, "-I", str(_SCRIPT)],
            input=payload,
            capture_output=True,
            timeout=NBDIME_SECONDS,
            check=False,
            env={name: os.environ[name] for name in ("LANG", "PATH") if name in os.environ},
        )
    except subprocess.TimeoutExpired:
        return f"The notebooks could not be compared line by line within {NBDIME_SECONDS:g} s."
    if process.returncode:
        return "The notebooks could not be compared line by line: it took too much memory or time."
    if len(process.stdout) > MAX_DIFF_BYTES:
        return f"The difference of the notebooks is larger than {MAX_DIFF_BYTES >> 20} MiB."
    diff: list[dict[str, Any]] = json.loads(process.stdout)
    return diff


def _common(mine: Sequence[Any], its: Sequence[Any]) -> int:
    """How many are the same at the beginning."""
    count = 0
    for one, other in zip(mine, its, strict=False):
        if one != other:
            break
        count += 1
    return count


def _operations_on_cells(diff: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for operation in diff:
        if operation["key"] == "cells" and operation["op"] == "patch":
            yield from operation["diff"]


def _counted(operations: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    return {
        "added": sum(len(one["valuelist"]) for one in operations if one["op"] == "addrange"),
        "removed": sum(one["length"] for one in operations if one["op"] == "removerange"),
        "modified": sum(one["op"] == "patch" for one in operations),
    }


def _only_counted(notebooks: Sequence[Mapping[str, Any]], message: str) -> dict[str, Any]:
    mine, its = ({cell.get("id"): cell for cell in notebook["cells"]} for notebook in notebooks)
    both = mine.keys() & its.keys()
    summary = {
        "added": len(its.keys() - both),
        "removed": len(mine.keys() - both),
        "modified": sum(mine[name] != its[name] for name in both),
    }
    return {"diff": None, "summary": summary, "message": message}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < MAX_NUMBER else None


def _text(value: object, most: int) -> str:
    return _plain(value, most) if isinstance(value, str) else ""


def _plain(text: str, most: int) -> str:
    """Text that any client can decode: what is no character, in a name of a file or from a kernel, as an escape."""
    text = text[:most]
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape" if _is_escaped(text) else "backslashreplace").decode(
            "utf-8", "backslashreplace"
        )
    return text


def _is_escaped(text: str) -> bool:
    """All that is no character stands for a byte, as in names of files."""
    return all(not "\ud800" <= character <= "\udfff" or "\udc80" <= character <= "\udcff" for character in text)
