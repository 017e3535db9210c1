"""Work that goes on whoever waits for it, and that is neither lost nor silent when it fails."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)


class BackgroundWork:
    """Tasks in the background of one owner. A failure is logged with the owner's name."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._tasks: set[asyncio.Task[Any]] = set()

    def __repr__(self) -> str:
        return f"<BackgroundWork of {self._owner} tasks={len(self._tasks)}>"

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start it now; the task may be waited for."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def to_its_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for work that goes on even if whoever waits is cancelled; what it raises is raised here."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return await asyncio.shield(task)

    async def settle(self, *, cancel: bool = False) -> None:
        """Wait until all has ended, cancelled first if asked."""
        for task in self._tasks:
            if cancel:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.debug("%s: %s", self._owner, error)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s: %s", self._owner, error, exc_info=error)
