"""Who waits for a sandbox's kernel, in order: executions, and pauses, in which nobody may run anything.

Decides whose turn it is; it runs nothing and waits for nothing. ``executor`` stands above and asks it.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from ..errors import ConflictError, PodflareError
from .execution import Execution

STARTING_SECONDS = 5.0
"""How long a pause waits for a kernel on which nothing runs: it is still starting, or another pause is at work."""


class Pause:
    """A while between two executions, wanted, held or over. Whoever asked for it must ``release`` it, granted or not.

    Executions that were queued before it have run when it is granted; those queued after it wait for its end.
    """

    def __init__(self, line: "WaitingLine", over: Callable[[], None], *, is_busy: Callable[[], bool]) -> None:
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line, self._over, self._is_busy = line, over, is_busy

    def __repr__(self) -> str:
        return f"<Pause {'granted' if self.granted.done() else 'waiting'}>"

    async def wait(self, seconds: float) -> None:
        """Wait until it is granted. Raises ConflictError after so long, and what the line was closed with."""
        busy = self._is_busy()
        seconds = seconds if busy else max(seconds, STARTING_SECONDS)
        try:
            async with asyncio.timeout(seconds):
                await self.granted
        except TimeoutError:
            what = "Code was still running in the sandbox" if busy else "The sandbox's kernel was not free"
            raise ConflictError(
                f"{what} after {seconds:g} seconds. Wait for its end or interrupt it, or give a longer wait_seconds."
            ) from None

    def release(self) -> None:
        """Let executions go on. Idempotent."""
        if self._line.leave(self):
            self._over()


class WaitingLine:
    """The line of one sandbox. ``len`` counts executions."""

    def __init__(self) -> None:
        self._waiting: deque[Execution | Pause] = deque()
        self._held: Pause | None = None

    def __repr__(self) -> str:
        return f"<WaitingLine executions={len(self)} {'paused' if self._held else 'open'}>"

    def __len__(self) -> int:
        return sum(isinstance(one, Execution) for one in self._waiting)

    def join(self, execution: Execution) -> None:
        """Queue an execution."""
        self._waiting.append(execution)

    def join_pause(self, pause: Pause, *, first: bool) -> None:
        """Queue a pause: behind everybody, or ``first``, before every execution that waits."""
        if not first:
            self._waiting.append(pause)
            return
        pauses = 0
        while pauses < len(self._waiting) and isinstance(self._waiting[pauses], Pause):
            pauses += 1
        self._waiting.insert(pauses, pause)

    def first(self) -> Execution | None:
        """The execution whose turn it is before every other's; it stays in the line."""
        return next((one for one in self._waiting if isinstance(one, Execution)), None)

    def next(self) -> Execution | None:
        """Give the execution that may begin. If it is a pause's turn it is granted, and there is none."""
        while self._waiting and self._held is None:
            first = self._waiting.popleft()
            if isinstance(first, Execution):
                return first
            if not first.granted.done():
                self._held = first
                first.granted.set_result(None)
        return None

    def leave(self, one: Execution | Pause) -> bool:
        """Take it out; False if it did not wait. The pause that is held is over."""
        if one is self._held:
            self._held = None
            return True
        try:
            self._waiting.remove(one)
        except ValueError:
            return False
        return True

    def close(self, reason: PodflareError) -> list[Execution]:
        """Send everybody away: pauses are told the reason, executions are given back."""
        waiting, self._waiting = self._waiting, deque()
        for one in waiting:
            if isinstance(one, Pause) and not one.granted.done():
                one.granted.set_exception(reason)
        return [one for one in waiting if isinstance(one, Execution)]
