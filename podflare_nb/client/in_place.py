"""What blocks, as the synchronous client does it: at once. The counterpart of ``beside_loop``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


def in_place(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call here."""
    return function(*args, **kwargs)
