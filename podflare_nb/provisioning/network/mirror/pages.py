"""Index pages: each fetched once for all who ask, kept for a short time, then asked for again by its ETag."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from .settings import Site
from .upstream import Page, Upstream

Parsed = TypeVar("Parsed")
MAX_KEPT_BYTES = 128 << 20
THREAD_BYTES = 128 << 10
"""A page larger than this is parsed beside the loop."""


@dataclass(slots=True)
class _Kept(Generic[Parsed]):
    parsed: Parsed
    etag: str | None
    size: int
    fresh_until: float


class Pages(Generic[Parsed]):
    """Pages of one kind. ``parse`` makes of a page what is kept, and raises UpstreamError for one that is wrong."""

    def __init__(self, upstream: Upstream, parse: Callable[[Page], Parsed], fresh_seconds: float) -> None:
        self._upstream = upstream
        self._parse = parse
        self._fresh_seconds = fresh_seconds
        self._kept: OrderedDict[tuple[str, str], _Kept[Parsed]] = OrderedDict()
        self._bytes = 0
        self._under_way: dict[tuple[str, str], asyncio.Task[Parsed]] = {}

    async def get(self, site: Site, url: str, accept: str) -> Parsed:
        """The page as it is upstream, at most a short time ago. Raises UpstreamError."""
        key = (url, accept)
        kept = self._kept.get(key)
        if kept is not None and kept.fresh_until > asyncio.get_running_loop().time():
            self._kept.move_to_end(key)
            return kept.parsed
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.create_task(self._fetch(site, key, kept))
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._over(key, done))
        return await asyncio.shield(task)

    def _over(self, key: tuple[str, str], task: asyncio.Task[Parsed]) -> None:
        del self._under_way[key]
        if not task.cancelled():
            task.exception()  # whoever asked has it; nobody may be left

    async def _fetch(self, site: Site, key: tuple[str, str], kept: _Kept[Parsed] | None) -> Parsed:
        url, accept = key
        page = await self._upstream.fetch(site, url, accept=accept, etag=kept.etag if kept else None)
        fresh_until = asyncio.get_running_loop().time() + self._fresh_seconds
        if page.body is None and kept is not None:
            kept.fresh_until = fresh_until
            return kept.parsed
        size = len(page.body or b"")
        parsed = await asyncio.to_thread(self._parse, page) if size > THREAD_BYTES else self._parse(page)
        self._forget(key)
        self._kept[key] = _Kept(parsed, page.etag, size, fresh_until)
        self._bytes += size
        while self._bytes > MAX_KEPT_BYTES and self._kept:
            self._forget(next(iter(self._kept)))
        return parsed

    def _forget(self, key: tuple[str, str]) -> None:
        gone = self._kept.pop(key, None)
        if gone is not None:
            self._bytes -= gone.size
