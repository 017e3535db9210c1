"""Pools are filled one thing at a time, to their target and no further."""

import asyncio
from dataclasses import dataclass

from podflare_nb.provisioning.pool import SPARE_JAILS, PoolCounts
from podflare_nb.provisioning.refilling import Refilling


@dataclass
class Pool:
    spare: int
    starting: int = 0

    def counts(self):
        return PoolCounts(target=0, warm=0, starting=self.starting, waiting=0, spare_jails=self.spare)


async def test_who_looks_twice_at_once_has_one_made():
    full = asyncio.Event()

    async def add_jail(pool):
        pool.spare += 1
        full.set()

    pool = Pool(spare=SPARE_JAILS - 1)
    refilling = Refilling(add_jail, add_jail)
    refilling.now(pool)
    refilling.now(pool)
    await asyncio.wait_for(full.wait(), 30)
    await refilling.close()
    assert (pool.spare, pool.starting) == (SPARE_JAILS, 0)
