"""The sandboxes of one MCP session: its own one, made when it is first needed, those that it made, those it named.

What the session made ends with it, unless its client asked to keep it. A cancelled request leaves nothing behind
that nobody knows of: what is being made is made to its end, and then belongs to the session. Stands on the client;
``tools`` stand above.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from podflare_nb.client import AsyncClient, AsyncFork, AsyncSandbox, PodflareError

CLOSING_SECONDS = 20.0
"""For ending a session's sandboxes; what is left then ends at its idle timeout."""

_MOST_NAMED = 64
"""Sandboxes whose objects are kept although the session did not make them."""

_log = logging.getLogger(__name__)

T = TypeVar("T")


class ToolSession:
    """``client``: the service and the key that the session acts with. ``template``: of the session's own sandbox."""

    def __init__(self, client: AsyncClient, *, template: str | None = None) -> None:
        self.client = client
        self._template = template
        self._own: AsyncSandbox | None = None
        self._made: dict[str, AsyncSandbox] = {}
        self._named: OrderedDict[str, AsyncSandbox] = OrderedDict()
        self._making: set[asyncio.Task[Any]] = set()
        self._first = asyncio.Lock()

    @property
    def own_id(self) -> str | None:
        """The id of the session's own sandbox; None before it has one."""
        return self._own.id if self._own is not None else None

    async def sandbox(self, sandbox_id: str | None = None) -> AsyncSandbox:
        """Give a sandbox by its id; without one the session's own, which is made when there is none."""
        if sandbox_id:
            return await self._by_id(sandbox_id)
        async with self._first:
            return self._own or await self.create(template=self._template)

    async def create(self, *, keep: bool = False, **wanted: Any) -> AsyncSandbox:
        """Make a sandbox; it is the session's own from then on. ``keep``: the session's end does not end it."""
        return await self._to_the_end(self._create(wanted, keep=keep))

    async def _create(self, wanted: dict[str, Any], *, keep: bool) -> AsyncSandbox:
        sandbox = await AsyncSandbox(client=self.client, **wanted)
        self._remember(sandbox, keep=keep)
        self._own = sandbox
        return sandbox

    async def fork(self, sandbox: AsyncSandbox, n: int) -> AsyncFork[AsyncSandbox]:
        """Make branches of a sandbox, whoever made that; they end with the session."""
        return await self._to_the_end(self._fork(sandbox, n))

    async def _fork(self, sandbox: AsyncSandbox, n: int) -> AsyncFork[AsyncSandbox]:
        branches = await sandbox.fork(n)
        for branch in branches:
            self._remember(branch, keep=False)
        return branches

    def forget(self, sandbox_id: str) -> None:
        """Take note that a sandbox is over; if it was the session's own, the next one needed is a new one."""
        self._made.pop(sandbox_id, None)
        self._named.pop(sandbox_id, None)
        if self.own_id == sandbox_id:
            self._own = None

    async def close(self) -> None:
        """End what the session made, and wait for it. Idempotent."""
        await asyncio.gather(*self._making, return_exceptions=True)
        ending, self._made = list(self._made.values()), {}
        self._own = None
        ended = await asyncio.gather(*(sandbox.close() for sandbox in ending), return_exceptions=True)
        _tell_failures(ended)
        await self.client.connection.close()

    async def _by_id(self, sandbox_id: str) -> AsyncSandbox:
        known = self._made.get(sandbox_id) or self._named.get(sandbox_id)
        if known is None:
            known = await AsyncSandbox.connect(sandbox_id, client=self.client)
            self._remember(known, keep=True)
        elif sandbox_id in self._named:
            self._named.move_to_end(sandbox_id)
        return known

    def _remember(self, sandbox: AsyncSandbox, *, keep: bool) -> None:
        if not keep:
            self._made[sandbox.id] = sandbox
            return
        self._named[sandbox.id] = sandbox
        while len(self._named) > _MOST_NAMED:
            self._named.popitem(last=False)

    async def _to_the_end(self, making: Coroutine[Any, Any, T]) -> T:
        """Wait for something to be made; it is made to its end even when nobody waits any more."""
        task = asyncio.create_task(making)
        self._making.add(task)
        task.add_done_callback(self._settled)
        return await asyncio.shield(task)

    def _settled(self, task: asyncio.Task[Any]) -> None:
        self._making.discard(task)
        if not task.cancelled():
            # Whoever waited has it; marked as seen for when nobody did.
            task.exception()

    def __repr__(self) -> str:
        return f"<ToolSession own={self.own_id} made={len(self._made)}>"


def _tell_failures(ended: Iterable[object]) -> None:
    for failure in ended:
        if isinstance(failure, PodflareError):
            _log.info("A sandbox of an MCP session was not closed: %s", failure.message)
        elif isinstance(failure, BaseException):
            _log.error("A sandbox of an MCP session was not closed.", exc_info=failure)
