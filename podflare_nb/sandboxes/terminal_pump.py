"""Reads what terminals say, all of them together in no more than a part of the event loop's time.

Each that has something to say waits in one line; a turn reads a burst of each until its time is over, then the loop is
everybody else's for a while. So a thousand programs that print without end make terminals slow, not the service: Linux
holds up a program whose terminal is not read. What is read of one terminal a second is bounded by the same.
"""

import asyncio
from collections import deque
from collections.abc import Callable

TURN_SECONDS = 0.002
REST_SECONDS = 0.001
"""Between two turns, at least. A terminal that speaks after a rest is read at once."""
RESTS = 4
"""A rest is so many times as long as the turn before it."""


class TerminalPump:
    """Calls ``take`` of each watched descriptor that is readable; it reads a burst and tells whether there is more."""

    def __init__(self) -> None:
        self._takes: dict[int, Callable[[], bool]] = {}
        self._line: deque[int] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._rested_at = 0.0

    def __repr__(self) -> str:
        return f"<TerminalPump watched={len(self._takes)} waiting={len(self._line)}>"

    def watch(self, descriptor: int, take: Callable[[], bool]) -> None:
        """Read from it from now on."""
        self._takes[descriptor] = take
        asyncio.get_running_loop().add_reader(descriptor, self._speaks, descriptor)

    def forget(self, descriptor: int) -> None:
        """Before it is closed. Idempotent."""
        if self._takes.pop(descriptor, None) is not None:
            asyncio.get_running_loop().remove_reader(descriptor)

    def _speaks(self, descriptor: int) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(descriptor)
        self._line.append(descriptor)
        if self._timer is None:
            if loop.time() >= self._rested_at:
                self._turn()
            else:
                self._timer = loop.call_at(self._rested_at, self._turn)

    def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        began = loop.time()
        for _ in range(len(self._line)):
            descriptor = self._line.popleft()
            take = self._takes.get(descriptor)
            if take is None:
                continue
            if take():
                self._line.append(descriptor)
            elif descriptor in self._takes:
                loop.add_reader(descriptor, self._speaks, descriptor)
            if loop.time() - began >= TURN_SECONDS:
                break
        now = loop.time()
        self._rested_at = now + max(REST_SECONDS, RESTS * (now - began))
        if self._line:
            self._timer = loop.call_at(self._rested_at, self._turn)
