"""How many kernels to keep warm: decided purely, from counts.

The supervisor asks after everything that changes a count, and starts what is wanted.
"""

from __future__ import annotations

from dataclasses import dataclass

MOST_AT_ONCE = 1
"""Forks for the pool under way at once for a template: refilling must not slow down whoever just took a kernel."""


@dataclass(frozen=True, slots=True)
class PoolCounts:
    """One template's pool: ``target`` wished for, ``warm`` there, ``starting`` under way, ``waiting`` requests that
    found it empty and are being served by a fork of their own."""

    target: int
    warm: int
    starting: int
    waiting: int


def wanted(counts: PoolCounts) -> int:
    """How many more forks to begin now. Nobody's request waits behind a refill."""
    if counts.waiting:
        return 0
    missing = counts.target - counts.warm - counts.starting
    return max(0, min(missing, MOST_AT_ONCE - counts.starting))
