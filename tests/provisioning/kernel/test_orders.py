"""Orders that make a kernel stand still, without a kernel."""

import asyncio
import socket
from types import SimpleNamespace

import pytest

from podflare_nb.provisioning import datagrams
from podflare_nb.provisioning.kernel import orders as module
from podflare_nb.provisioning.kernel.orders import Claim, Orders


@pytest.fixture
def released():
    return []


@pytest.fixture
async def orders(released, monkeypatch):
    monkeypatch.setattr(module, "STANDSTILL_SECONDS", 0)
    shell = SimpleNamespace(release=lambda: released.append(True))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield Orders(ours, SimpleNamespace(shell=shell, loop=asyncio.get_running_loop()), lambda _: None)


def stand_still(orders):
    orders._taken = Claim(datagrams.Datagram({"op": "settle", "id": 1, "hold": True}, []), 1.0)
    orders.settled()


async def turns_of_the_loop():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_standstill_that_nobody_ends_ends_by_itself(orders, released):
    stand_still(orders)
    assert released == []
    await turns_of_the_loop()
    assert released == [True]


async def test_a_standstill_that_was_ended_does_not_end_what_comes_after_it(orders, released):
    stand_still(orders)
    orders.done()
    claim = orders._taken = Claim(datagrams.Datagram({"op": "fork", "id": 2}, []), 1.0)
    await turns_of_the_loop()
    assert (released, orders.taken) == ([True], claim)
