"""Answers that are kept for requests that may come again: what ``Idempotency-Key`` on create and fork stands on.

A client whose connection was cut cannot know whether its sandbox was made. It sends the same request with the same key
again and gets the first one's answer; nothing is made twice. What was begun goes on when its client goes away, so that
the answer is there for the retry. Refusals are not kept: the next one tries anew.

In memory only, since sandboxes do not outlive the service either. Bounded for each tenant: the oldest keys go first.
Knows nothing of HTTP; ``idempotency`` stands above.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from ..errors import ConflictError, PodflareError

log = logging.getLogger(__name__)

KEEP_SECONDS = 24 * 3600.0
MOST_KEYS = 1000
"""Of one tenant."""

Make = Callable[[], Coroutine[Any, Any, BaseModel]]


@dataclass(frozen=True, slots=True)
class Kept:
    """One answer, under way or made: of which request, since when (seconds of the clock), as JSON."""

    request: bytes
    at: float
    answer: asyncio.Task[str]


class KeptAnswers:
    """The answers to requests that had a key, by tenant and key, oldest first. ``clock`` in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, OrderedDict[str, Kept]] = {}
        self._under_way: set[asyncio.Task[str]] = set()

    def __repr__(self) -> str:
        kept = sum(map(len, self._kept.values()))
        return f"<KeptAnswers kept={kept} under_way={len(self._under_way)}>"

    async def once(self, tenant_id: str, key: str, request: bytes, make: Make) -> tuple[str, bool]:
        """Give the answer to this request, as JSON, and whether it is an earlier one's.

        ``request`` tells requests apart. One that is under way is waited for, and what it raises is raised here, too.
        Raises ConflictError when the key was another request's, and what ``make`` raises.
        """
        self._forget(tenant_id, lambda _, oldest: oldest.at <= self._clock() - KEEP_SECONDS)
        kept = self._kept[tenant_id].get(key) if tenant_id in self._kept else None
        if kept is None:
            return await asyncio.shield(self._begin(tenant_id, key, request, make)), False
        if kept.request != request:
            raise ConflictError(
                f"The Idempotency-Key {key!r} was sent with another request before. Use a new key for each request, "
                "and the same one only to send the same request again."
            )
        return await asyncio.shield(kept.answer), True

    async def aclose(self) -> None:
        """End what is under way. Idempotent."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _begin(self, tenant_id: str, key: str, request: bytes, make: Make) -> asyncio.Task[str]:
        self._forget(tenant_id, lambda keys, _: len(keys) >= MOST_KEYS)
        task = asyncio.get_running_loop().create_task(_made(make), name=f"idempotent {key}")
        self._under_way.add(task)
        kept = self._kept.setdefault(tenant_id, OrderedDict())[key] = Kept(request, self._clock(), task)
        task.add_done_callback(lambda _: self._done(tenant_id, key, kept))
        return task

    def _done(self, tenant_id: str, key: str, kept: Kept) -> None:
        """Keep an answer; forget a failure, of which somebody should know who still listens."""
        task = kept.answer
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is None:
            return
        if not task.cancelled() and not isinstance(error, PodflareError):
            log.error("a request with an Idempotency-Key failed", exc_info=error)
        keys = self._kept.get(tenant_id, OrderedDict())
        if keys.get(key) is kept:
            self._drop(tenant_id, key)

    def _forget(self, tenant_id: str, is_due: Callable[[Mapping[str, Kept], Kept], bool]) -> None:
        """Drop the oldest as long as it is due."""
        keys = self._kept.get(tenant_id, OrderedDict())
        while keys and is_due(keys, next(iter(keys.values()))):
            self._drop(tenant_id, next(iter(keys)))

    def _drop(self, tenant_id: str, key: str) -> None:
        keys = self._kept[tenant_id]
        del keys[key]
        if not keys:
            del self._kept[tenant_id]


async def _made(make: Make) -> str:
    return (await make()).model_dump_json()
