"""Who is over, and when to look again."""

import asyncio
from datetime import UTC, datetime, timedelta

from podflare_nb.sandboxes.culler import Culler, Lease, judge

from .conftest import SECONDS

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def lease(name, expires, idle):
    idle_at = None if idle is None else NOW + timedelta(seconds=idle)
    return Lease(name, NOW + timedelta(seconds=expires), idle_at, timedelta(seconds=60))


def test_the_lifetime_ends_even_what_works():
    assert judge(NOW, [lease("a", 0, None)]).over == (("a", "lifetime"),)


def test_the_idle_time_ends_what_does_not_work():
    assert judge(NOW, [lease("a", 100, 0), lease("b", 100, None)]).over == (("a", "idle_timeout"),)


def test_the_next_look_is_at_the_nearest_deadline():
    leases = [lease("a", 100, 50), lease("b", 30, None), lease("c", 100, -1)]
    assert judge(NOW, leases).next_deadline == NOW + timedelta(seconds=30)


def test_what_works_is_looked_at_again_after_its_idle_time():
    assert judge(NOW, [lease("a", 100, None)]).next_deadline == NOW + timedelta(seconds=60)


def test_without_leases_there_is_no_next_look():
    assert judge(NOW, []).next_deadline is None


async def test_the_timer_fires_at_the_deadline_and_not_for_what_was_extended():
    ended: asyncio.Queue = asyncio.Queue()
    leases = {}

    def clock():
        return datetime.now(UTC)

    culler = Culler(leases.values, lambda *end: (leases.pop(end[0]), ended.put_nowait(end)), clock)
    soon, later = clock() + timedelta(milliseconds=30), clock() + timedelta(milliseconds=90)
    for name, at in (("a", soon), ("b", soon)):
        leases[name] = Lease(name, at, None, timedelta(seconds=60))
        culler.watch(leases[name])
    leases["b"] = Lease("b", later, None, timedelta(seconds=60))
    assert await asyncio.wait_for(ended.get(), SECONDS) == ("a", "lifetime")
    assert clock() >= soon
    assert await asyncio.wait_for(ended.get(), SECONDS) == ("b", "lifetime")
    assert clock() >= later
    culler.close()
