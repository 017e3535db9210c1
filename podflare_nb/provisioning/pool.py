"""How many kernels, and how many built jails, to keep ready: decided purely, from counts.

The supervisor asks after everything that changes a count, and starts what is wanted. A warm kernel is the quickest to
give out; a spare jail makes the fork for a request that found no warm kernel quick, as building one is half of that.
"""

from __future__ import annotations

from dataclasses import dataclass

MOST_AT_ONCE = 1
"""Kernels or jails under way at once for a template: refilling must not slow down whoever just took a kernel."""


SPARE_JAILS = 32
"""For each template that has a pool at all, or whose kernels are asked for. One holds no Python: it is some kernel
memory and the 96 KiB of its pid 1. They are for bursts, in which a jail would be half of what a create costs."""


@dataclass(frozen=True, slots=True)
class PoolCounts:
    """One template's pool: ``target`` wished for, ``warm`` there, ``starting`` under way, ``waiting`` requests that
    found it empty and are being served by a fork of their own; ``spare_jails`` built and not yet used."""

    target: int
    warm: int
    starting: int
    waiting: int
    spare_jails: int


@dataclass(frozen=True, slots=True)
class Refill:
    """What to begin now."""

    kernels: int = 0
    jails: int = 0


def refill(counts: PoolCounts) -> Refill:
    """Decide what to begin. Nobody's request waits behind a refill; warm kernels come before spare jails."""
    if counts.waiting or counts.starting >= MOST_AT_ONCE:
        return Refill()
    if counts.warm < counts.target:
        return Refill(kernels=1)
    return Refill(jails=int(counts.spare_jails < SPARE_JAILS))
