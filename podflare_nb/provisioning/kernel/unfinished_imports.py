"""Lets a child import what a thread of its parent's was importing at the fork: the child has no such thread.

Python's import lock is held by no other thread at a fork (``live_fork``), but each module that is being imported has a
lock of its own, which nobody would give back, and is found half made in ``sys.modules``. Above: ``attach``.
"""

from __future__ import annotations

import _frozen_importlib
import sys
from types import ModuleType
from typing import Any


def forget() -> None:
    """In a child, which imports nothing itself: forget these locks, and the modules that are not complete."""
    locks: dict[str, Any] = _frozen_importlib._module_locks  # type: ignore[attr-defined]  # noqa: SLF001  # no other name
    for name in list(locks):
        module = sys.modules.get(name)
        spec = vars(module).get("__spec__") if isinstance(module, ModuleType) else None
        if getattr(spec, "_initializing", False):
            del sys.modules[name]
    locks.clear()
