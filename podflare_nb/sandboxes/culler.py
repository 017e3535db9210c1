"""Ends sandboxes whose time is over: the total lifetime, and the idle time while nothing runs.

The decision is pure, over leases; the culler holds one timer at the next deadline and looks again when it fires.
A lease that was meanwhile extended costs one look, so using a sandbox never touches the timer.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

Expiry = Literal["idle_timeout", "lifetime"]


@dataclass(frozen=True, slots=True)
class Lease:
    """The deadlines of one sandbox; ``idle_at`` is None while it works. ``idle_timeout``: its idle time."""

    sandbox_id: str
    expires_at: datetime
    idle_at: datetime | None
    idle_timeout: timedelta

    def deadline(self, now: datetime) -> datetime:
        """When it may be over at the earliest; one that works could end that this moment, and be idle from then on."""
        return min(self.expires_at, now + self.idle_timeout if self.idle_at is None else self.idle_at)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who is over, and when to look again (None: nobody is left)."""

    over: tuple[tuple[str, Expiry], ...]
    next_deadline: datetime | None


def judge(now: datetime, leases: Iterable[Lease]) -> Verdict:
    """Decide over all leases at ``now``; the lifetime goes before the idle time."""
    over: list[tuple[str, Expiry]] = []
    next_deadline: datetime | None = None
    for lease in leases:
        if lease.expires_at <= now:
            over.append((lease.sandbox_id, "lifetime"))
        elif lease.idle_at is not None and lease.idle_at <= now:
            over.append((lease.sandbox_id, "idle_timeout"))
        else:
            deadline = lease.deadline(now)
            next_deadline = deadline if next_deadline is None else min(next_deadline, deadline)
    return Verdict(tuple(over), next_deadline)


class Culler:
    """Calls ``end`` for each sandbox that is over. ``watch`` after whatever may bring a deadline nearer."""

    def __init__(
        self,
        leases: Callable[[], Iterable[Lease]],
        end: Callable[[str, Expiry], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._leases, self._end, self._clock = leases, end, clock
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: datetime | None = None

    def __repr__(self) -> str:
        return f"<Culler next={self._deadline}>"

    def watch(self, lease: Lease) -> None:
        """Mind this lease: look when it is over, if not before."""
        deadline = lease.deadline(self._clock())
        if self._deadline is None or deadline < self._deadline:
            self._set(deadline)

    def look(self) -> None:
        """End what is over now, and set the timer for the next."""
        verdict = judge(self._clock(), self._leases())
        self._set(verdict.next_deadline)
        for sandbox_id, expiry in verdict.over:
            self._end(sandbox_id, expiry)

    def close(self) -> None:
        """Stop; idempotent."""
        self._set(None)

    def _set(self, deadline: datetime | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._deadline = deadline
        if deadline is not None:
            # A timer may fire a little early against the clock: then there would be a look for nothing.
            wait = max(deadline - self._clock(), timedelta()) + timedelta(milliseconds=1)
            self._timer = asyncio.get_running_loop().call_later(wait.total_seconds(), self.look)
