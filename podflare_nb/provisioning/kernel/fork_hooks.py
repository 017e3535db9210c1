"""What was registered with ``os.register_at_fork``: called by us, one by one, so that none can hold up a fork.

The interpreter calls such functions around a fork itself, in every process that it makes. A live fork makes
n + 1 of them, and a function of the user's may hang or raise. So the interpreter's three lists are emptied for the
moment of the fork, and each function is called exactly where it belongs, with a deadline: "before" and
"after_in_parent" in the parent, "after_in_child" in each child: the libraries' at its birth, the user's when it wakes.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable
from typing import Any

from . import orphan_fork
from .interrupts import Interrupts

BUDGET_SECONDS = 2.0
"""For all functions of one kind together."""

_lists: dict[str, list[Callable[[], Any]]] = {}
_of_libraries: set[int] = set()


def find() -> None:
    """Find the interpreter's lists; what stands in them now is the libraries'. Once, in the template."""
    if not _lists:
        for kind in ("before", "after_in_parent", "after_in_child"):

            def marker() -> None:
                """Stands in one list only, which is found by it."""

            os.register_at_fork(**{kind: marker})
            _lists[kind] = next(each for each in gc.get_referrers(marker) if isinstance(each, list))
            _lists[kind].remove(marker)
    _of_libraries.clear()
    _of_libraries.update(id(hook) for hooks in _lists.values() for hook in hooks)


def rehearse() -> None:
    """Call the libraries' functions for a new child in the template. What they empty there (matplotlib's fonts) need
    not be emptied in every child, which would write to the pages that it lies in."""
    for hook in _lists["after_in_child"]:
        with contextlib.suppress(Exception):  # it fails in every child, too, where the interpreter tells of it
            hook()


def fork() -> int:
    """As ``orphan_fork.fork``, and without calling what was registered."""
    kept = {kind: list(hooks) for kind, hooks in _lists.items()}
    try:
        for hooks in _lists.values():
            hooks.clear()
        return orphan_fork.fork()
    finally:
        for kind, hooks in _lists.items():
            hooks[:] = kept[kind]


def call(kind: str, interrupts: Interrupts, *, users_only: bool = False) -> list[str]:
    """Call the functions of a kind; a sentence for each that failed or was broken off."""
    hooks = [hook for hook in _lists.get(kind, ()) if not users_only or id(hook) not in _of_libraries]
    if kind == "before":
        hooks.reverse()
    if not hooks:
        return []
    failures: list[str] = []
    try:
        with interrupts.after(BUDGET_SECONDS):
            for hook in hooks:
                try:
                    with interrupts.arm():
                        hook()
                except BaseException as error:  # noqa: BLE001  # the user's: the fork goes on, as the interpreter's would
                    failures.append(_failure(kind, hook, error))
    except OSError as error:  # nothing would keep the deadline
        failures.append(f"Functions registered with os.register_at_fork ({kind}) were left out: {error.strerror}.")
    return failures


def call_libraries_in_child() -> None:
    """Call the libraries' functions for a new child. They neither wait nor raise: the child is alone."""
    for hook in _lists.get("after_in_child", ()):
        if id(hook) in _of_libraries:
            hook()


def _failure(kind: str, hook: Callable[[], Any], error: BaseException) -> str:
    name = getattr(hook, "__qualname__", None) or type(hook).__name__
    reason = "did not end" if isinstance(error, KeyboardInterrupt) else f"raised {type(error).__name__}"
    return f"The function {name!s:.100}, registered with os.register_at_fork ({kind}), {reason}."
