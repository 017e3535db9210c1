"""What blocks, such as reading a local file, as the asynchronous client does it: in a thread beside its loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


async def in_thread(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call beside the event loop."""
    return await asyncio.to_thread(function, *args, **kwargs)
