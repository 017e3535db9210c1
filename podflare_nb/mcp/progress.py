"""The lines of a run, told to the client while it runs: one notification at a time, joined where it is slow.

Overflow rule: the run never waits for the client. Lines that come while a notification is under way go into the
next one, the last ones of them. A silent run tells now and then that it still runs, since clients give up on what
is silent. Pure but for the clock; ``server`` makes one for each call that asked for progress.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

SILENCE_SECONDS = 10.0
PAUSE_SECONDS = 0.1
"""Between two notifications."""

LAST_SECONDS = 1.0
"""For the last lines, after the run: the answer must not wait long for a client that does not read."""

_MOST_LINES = 50
_MOST_CHARACTERS = 2_000

Tell = Callable[[float, str], Awaitable[None]]
"""Sends one notification: seconds since the run began, and a message."""


class Progress:
    """``line`` is called with each line; what ``telling`` surrounds is told of."""

    def __init__(self, tell: Tell, clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._began = clock()
        self._told_at = 0.0
        self._lines: deque[str] = deque(maxlen=_MOST_LINES)
        self._left_out = 0
        self._news = asyncio.Event()
        self._over = asyncio.Event()

    def line(self, line: str) -> None:
        """Take a line of output."""
        self._left_out += len(self._lines) == _MOST_LINES
        self._lines.append(line[:_MOST_CHARACTERS])
        self._news.set()

    @asynccontextmanager
    async def telling(self) -> AsyncIterator[None]:
        """Tell of what happens inside, and at its end what was not told yet."""
        teller = asyncio.create_task(self._keep_telling())
        try:
            yield
            self._over.set()
            self._news.set()
            await asyncio.wait([teller], timeout=LAST_SECONDS)
        finally:
            teller.cancel()

    async def _keep_telling(self) -> None:
        while True:
            if not await _within(SILENCE_SECONDS, self._news):
                self._lines.append(f"Still running, {self._clock() - self._began:.0f} s.")
            if self._lines:
                await self._tell_lines()
            elif self._over.is_set():
                return
            await _within(PAUSE_SECONDS, self._over)

    async def _tell_lines(self) -> None:
        text = "\n".join(self._lines)
        if self._left_out or len(text) > _MOST_CHARACTERS:
            text = "[...] " + text[-_MOST_CHARACTERS:]
        self._lines.clear()
        self._left_out = 0
        if not self._over.is_set():
            self._news.clear()
        # It must increase from one notification to the next.
        self._told_at = max(self._clock() - self._began, self._told_at + 0.001)
        await self._tell(round(self._told_at, 3), text)


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """Wait for an event; False when it did not come in time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
