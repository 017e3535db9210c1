"""What is made ahead: decided from counts alone."""

import pytest

from podflare_nb.provisioning.pool import SPARE_JAILS, PoolCounts, Refill, refill


@pytest.mark.parametrize(
    ("counts", "begin"),
    [
        (PoolCounts(target=4, warm=1, starting=0, waiting=0, spare_jails=0), Refill(kernels=1)),
        (PoolCounts(target=4, warm=3, starting=1, waiting=0, spare_jails=0), Refill()),
        (PoolCounts(target=4, warm=0, starting=0, waiting=1, spare_jails=0), Refill()),
        (PoolCounts(target=4, warm=4, starting=0, waiting=0, spare_jails=0), Refill(jails=1)),
        (PoolCounts(target=0, warm=0, starting=0, waiting=0, spare_jails=SPARE_JAILS), Refill()),
    ],
    ids=["kernels first", "one at a time", "never before a request", "then jails", "enough"],
)
def test_a_refill_begins(counts, begin):
    assert refill(counts) == begin
