"""Work in a jail's mount namespace as the supervisor waits for it: ``jail.inside`` with asyncio around it."""

from __future__ import annotations

import asyncio
import os
from typing import Self

from . import datagrams
from .jail import inside
from .waiting import reap, receive

_reaping: set[asyncio.Future[None]] = set()


class Errand:
    """One helper at work. ``async with`` it, and iterate over what it tells; leaving the block ends it."""

    def __init__(self, init_pidfd: int, work: inside.Work, *, in_background: bool = False) -> None:
        self._helper = inside.start(init_pidfd, work, in_background=in_background)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._helper.kill()
        # Nobody waits for its last moments: that all was done, it has told.
        reaping = asyncio.ensure_future(_reap(self._helper))
        _reaping.add(reaping)
        reaping.add_done_callback(_reaping.discard)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> datagrams.Datagram:
        """What it tells next. Raises OSError when it failed or was killed, StopAsyncIteration when all is done."""
        try:
            told = await receive(self._helper.sock)
        except (datagrams.PeerClosedError, ValueError) as error:
            raise OSError("it ended without a word") from error
        if "done" in told.body:
            raise StopAsyncIteration
        if "error" in told.body:
            raise OSError(told.body.get("errno") or 0, str(told.body["error"]))
        return told


async def _reap(helper: inside.Helper) -> None:
    await reap(helper.pid, helper.pidfd)
    os.close(helper.pidfd)


async def all_reaped() -> None:
    """Wait for the end of every helper, before the supervisor's own."""
    await asyncio.gather(*_reaping)
