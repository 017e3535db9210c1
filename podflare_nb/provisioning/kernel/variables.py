"""Describes the user's variables as JSON: what each is, in a line, and a fingerprint to compare two branches by.

Runs in the kernel between two cells. It calls no code of the user's and changes nothing (``raw_access``,
``fingerprints``, ``value_texts``), and it ends within its budget, whatever the variables are: what was not reached is
``unknown``. Whoever reads the answer trusts none of it: this is the tenant's process.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Mapping
from typing import Any

from .array_values import array_rules, class_in_c
from .builtin_values import ATOMS, CORES, EXACT
from .fingerprints import Budget, Rules, SpentError, Walk
from .frame_values import frame_rules
from .raw_access import MISSING, attribute, class_entry, inherits, module_entry, type_name
from .standard_values import STANDARD
from .value_texts import shape, text

MAX_VARIABLES = 10_000
MAX_NAME = 200
MAX_JSON_BYTES = (4 << 20) - 4096
MAX_ITEMS = 3_000_000
MAX_BYTES = 16 << 30


def describe(
    namespace: dict[str, object], budget_seconds: float, hidden: Mapping[str, object] | None = None
) -> dict[str, Any]:
    """Describe what the user has put into ``namespace``.

    ``hidden``: names that are not the user's as long as they have these values; by default what IPython says.
    Gives ``{"variables": [{"name", "type", "shape": [int] or None, "repr", "fingerprint": hex digits or None,
    "unknown": bool}], "truncated": bool}``. Two values of which either is ``unknown`` are different if both have
    fingerprints and these differ; else nobody knows.
    """
    deadline = time.monotonic() + budget_seconds
    collects = gc.isenabled()
    gc.disable()  # a collection writes to every object there is: it would copy the memory that branches share
    try:
        return _describe(namespace, deadline, _ipythons_own() if hidden is None else hidden)
    finally:
        if collects:
            gc.enable()


def _describe(namespace: dict[str, object], deadline: float, hidden: Mapping[str, object]) -> dict[str, Any]:
    entries: list[dict[str, Any]] = []
    values: list[object] = []
    room, truncated = MAX_JSON_BYTES, False
    for name, value in list(dict.items(namespace)):
        if type(name) is not str or name.startswith("_") or (name in hidden and value is hidden[name]):
            continue
        entry = _entry(name, value)
        room -= len(json.dumps(entry)) + 64  # the fingerprint's place, and a comma
        if room < 0 or len(entries) == MAX_VARIABLES or len(name) > MAX_NAME:
            truncated = True
            continue
        entries.append(entry)
        values.append(value)
    array_exact, cores = array_rules()
    rules = Rules(ATOMS, [*EXACT, *STANDARD, *array_exact, *frame_rules()], [*CORES, *cores])
    for number in sorted(range(len(entries)), key=lambda number: _weight(values[number])):
        _fingerprint(entries[number], values[number], rules, deadline)
    return {"variables": entries, "truncated": truncated}


def _entry(name: str, value: object) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": name[: MAX_NAME + 1], "type": type_name(type(value)), "shape": None}
    entry |= {"repr": f"<{entry['type']} object>", "fingerprint": None, "unknown": True}
    try:
        entry["shape"] = shape(value)
        entry["repr"] = text(value)
    except Exception:  # noqa: BLE001  # a value that another thread changes, a library that is not as known here
        return entry
    return entry


def _fingerprint(entry: dict[str, Any], value: object, rules: Rules, deadline: float) -> None:
    """Give every variable half of the time that is left: one cannot take it from all that come after."""
    left = deadline - time.monotonic()
    if left <= 0:
        return
    walk = Walk(rules, Budget(deadline - left / 2, MAX_ITEMS, MAX_BYTES))
    try:
        digest = walk.run(value)
    except SpentError:
        return
    except Exception:  # noqa: BLE001  # as in _entry: then it is unknown
        return
    entry["fingerprint"], entry["unknown"] = digest.hex(), walk.partial


def _weight(value: object) -> int:
    """About how much there is to read: the small ones come first."""
    ndarray = class_in_c("numpy", "ndarray")
    if ndarray is not None and inherits(type(value), ndarray):
        return int(ndarray.__dict__["nbytes"].__get__(value)) // 64
    for kind in (list, tuple, dict, set, frozenset):
        if inherits(type(value), kind):
            return kind.__len__(value)  # type: ignore[arg-type]  # it is one
    return 1 << 20 if attribute(value, "_mgr") is not MISSING else 1 << 10


def _ipythons_own() -> dict[str, object]:
    """What IPython has put into the namespace of this process, by its own account."""
    shell = module_entry(sys.modules.get("IPython.core.interactiveshell"), "InteractiveShell")
    instance = class_entry(shell, "_instance") if inherits(type(shell), type) else MISSING
    hidden = attribute(instance, "user_ns_hidden")
    if type(hidden) is not dict:
        return {}
    return {name: value for name, value in list(hidden.items()) if type(name) is str}
