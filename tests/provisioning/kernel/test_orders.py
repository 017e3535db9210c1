"""Orders that make a kernel stand still, without a kernel."""

import asyncio
import socket
from types import SimpleNamespace

import pytest

from podflare_nb.provisioning import datagrams
from podflare_nb.provisioning.kernel import claims as module
from podflare_nb.provisioning.kernel.audience import Audience
from podflare_nb.provisioning.kernel.claims import Claim
from podflare_nb.provisioning.kernel.orders import Orders


@pytest.fixture
def released():
    return []


@pytest.fixture
async def orders(released, monkeypatch):
    monkeypatch.setattr(module, "STANDSTILL_SECONDS", 0)
    loop = asyncio.get_running_loop()
    shell = SimpleNamespace(release=lambda: released.append(True), look=lambda: None, pending=[])
    stopped = SimpleNamespace(call_later=loop.call_later, call_soon_threadsafe=loop.call_soon, stop=lambda: None)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield Orders(ours, SimpleNamespace(shell=shell, loop=stopped, audience=Audience()), lambda _: None)


def stand_still(orders):
    orders.claims.taken = Claim(datagrams.Datagram({"op": "settle", "id": 1, "hold": True}, []), 1.0)
    orders.settled(orders.claims.taken.order)


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
    orders.claims.done()
    claim = orders.claims.taken = Claim(datagrams.Datagram({"op": "fork", "id": 2}, []), 1.0)
    await turns_of_the_loop()
    assert (released, orders.claims.taken) == ([True], claim)


def order(op):
    return Claim(datagrams.Datagram({"op": op, "id": 3}, []), 1.0)


async def test_requests_wait_for_an_audience_and_go_on_when_it_is_complete(orders, released):
    audience = orders._transport.audience
    assert orders.claims.take() is False
    audience.expect_some()
    assert orders.claims.take() is True
    audience.expect(1)
    await turns_of_the_loop()
    assert (orders.claims.take(), released) == (True, [])
    audience.arrive(1)
    await turns_of_the_loop()
    assert (orders.claims.take(), released) == (False, [True])


async def test_an_order_does_not_wait_for_an_audience(orders, released):
    orders._transport.audience.expect_some()
    assert orders.claims.take() is True
    orders.claims._waiting = order("fork")
    orders.claims.look()
    assert released == [True]
    assert (orders.claims.take(), orders.claims.taken.order.body["op"]) == (True, "fork")
    orders._transport.audience.give_up()
    await turns_of_the_loop()
    assert released == [True], "what stands still for an order does so until that is done"


async def test_an_audience_that_is_complete_does_not_end_what_was_taken_meanwhile(orders, released):
    audience = orders._transport.audience
    audience.expect_some()
    assert orders.claims.take() is True
    orders.claims._waiting = order("fork")
    assert orders.claims.take() is True  # asked again for another reason
    audience.expect(0)
    await turns_of_the_loop()
    assert released == []
    orders.claims.done()
    assert released == [True]


async def test_to_settle_waits_for_what_was_asked_before_and_not_for_what_comes_after(orders):
    before, after = [b"before"], [b"after"]
    pending = orders._transport.shell.pending
    pending += [before, None]
    orders.claims._waiting = order("settle")
    assert (orders.claims.take(), orders.claims.taken) == (False, None)
    pending.append(after)
    assert (orders.claims.take(), orders.claims.taken) == (False, None)
    pending.remove(before)
    assert orders.claims.take() is True
    assert orders.claims.taken.order.body["op"] == "settle"


async def test_to_settle_waits_for_an_audience(orders, released):
    audience = orders._transport.audience
    audience.expect_some()
    orders.claims._waiting = order("settle")
    assert (orders.claims.take(), orders.claims.taken) == (True, None)
    audience.give_up()
    await turns_of_the_loop()
    assert released == [True]
    assert orders.claims.take() is True
    assert orders.claims.taken.order.body["op"] == "settle"


async def test_to_fork_waits_for_no_request(orders):
    orders._transport.shell.pending.append([b"before"])
    orders.claims._waiting = order("fork")
    assert orders.claims.take() is True
    assert orders.claims.taken.order.body["op"] == "fork"
