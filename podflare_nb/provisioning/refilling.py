"""Keeps pools full, one thing at a time and behind everybody's back: ``pool`` decides what, the factory makes it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ..errors import PodflareError
from .pool import refill
from .template_pool import TemplatePool

log = logging.getLogger(__name__)
REFILL_AFTER_SECONDS = 0.05
"""A moment's quiet before a pool is refilled: the first execution of whoever took a kernel comes first."""
RETRY_AFTER_SECONDS = 2.0
Make = Callable[[TemplatePool], Awaitable[None]]


class Refilling:
    """``add_jail`` is None where kernels have none."""

    def __init__(self, add_kernel: Make, add_jail: Make | None) -> None:
        self._add_kernel = add_kernel
        self._add_jail = add_jail
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def __repr__(self) -> str:
        return f"<Refilling {'closed' if self._closed else f'under way={len(self._tasks)}'}>"

    def soon(self, pool: TemplatePool, seconds: float = REFILL_AFTER_SECONDS) -> None:
        """Look after a moment what a pool lacks."""
        if not self._closed:
            asyncio.get_running_loop().call_later(seconds, self.now, pool)

    def now(self, pool: TemplatePool) -> None:
        """Look what it lacks."""
        if self._closed:
            return
        wanted = refill(pool.counts())
        if wanted.kernels:
            self._begin(pool, self._add_kernel)
        elif wanted.jails and self._add_jail is not None:
            self._begin(pool, self._add_jail)

    def _begin(self, pool: TemplatePool, make: Make) -> None:
        pool.starting += 1  # now: who looks before the task runs must not begin another one
        task = asyncio.create_task(self._prepare(pool, make))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _prepare(self, pool: TemplatePool, make: Make) -> None:
        """Make one thing ahead, then look for what else is wanted."""
        pause = 0.0
        try:
            await make(pool)
        except PodflareError as error:
            if not self._closed:
                log.error("Nothing can be made ahead for %s: %s", pool.template.spec.name, error)  # noqa: TRY400 - a sentence, not our fault's trace
            pause = RETRY_AFTER_SECONDS
        finally:
            pool.starting -= 1
        self.soon(pool, pause)

    async def close(self) -> None:
        """Make nothing more."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
