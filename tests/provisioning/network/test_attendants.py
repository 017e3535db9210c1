"""An attendant hears what it is told in order, is started again when it dies, and is then told everything anew."""

import asyncio
import os
import signal

import pytest

from podflare_nb.provisioning.network import attendants
from podflare_nb.provisioning.network.attendants import Attendant, Order

from ...faults.traces import own_descriptors, process, until_no_more

SECONDS = 60
MODULE = "tests.provisioning.network.attendant_process"


class Told:
    """What an attendant has told, to be waited for."""

    def __init__(self):
        self.events = asyncio.Queue()
        self.everything = [{"op": "configure"}]
        self.asked = 0

    def orders(self):
        self.asked += 1
        for body in self.everything:
            yield Order(body)

    async def next(self):
        return await asyncio.wait_for(self.events.get(), SECONDS)


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.getcwd())  # noqa: PTH109 - where tests are run


async def started(told):
    attendant = Attendant(MODULE, told.orders, told.events.put_nowait)
    attendant.start()
    await asyncio.wait_for(attendant.ready.wait(), SECONDS)
    return attendant


@pytest.mark.asyncio
async def test_orders_come_in_order_after_everything_there_is():
    told = Told()
    told.everything += [{"op": "open", "network": str(number)} for number in range(3)]
    attendant = await started(told)
    for number in range(500):
        attendant.tell({"op": "egress", "number": number})
    heard = [await told.next() for _ in range(504)]
    assert [each["op"] for each in heard] == ["configure", "open", "open", "open", *["egress"] * 500]
    assert [each["number"] for each in heard[4:]] == list(range(500))
    await attendant.close()


@pytest.mark.asyncio
async def test_what_its_socket_does_not_take_waits_and_keeps_its_order():
    told = Told()
    attendant = await started(told)
    assert (await told.next())["op"] == "configure"
    read, write = os.pipe()
    attendant.tell({"op": "stall"}, [read])
    for number in range(3000):  # more than a socket holds
        attendant.tell({"op": "egress", "number": number, "padding": "x" * 500})
    assert attendant._orders, "the test means to fill the socket"
    os.write(write, b"x")
    os.close(write)
    assert (await told.next())["op"] == "stall"
    assert [(await told.next())["number"] for _ in range(3000)] == list(range(3000))
    await attendant.close()


@pytest.mark.asyncio
async def test_descriptors_arrive_and_are_not_kept():
    told = Told()
    attendant = await started(told)
    await told.next()
    before = own_descriptors()
    for _ in range(20):
        read, write = os.pipe()
        os.write(write, b"four")
        os.close(write)
        attendant.tell({"op": "open", "read": True}, [read])
        assert (await told.next())["lengths"] == [4]
    until_no_more(own_descriptors, before, SECONDS)
    await attendant.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
async def test_one_that_died_is_started_again_and_told_everything_anew(signum):
    told = Told()
    attendant = await started(told)
    first = await told.next()
    told.everything.append({"op": "open", "network": "a"})
    os.kill(attendant.pid, signum)
    again, opened = await told.next(), await told.next()
    assert (again["op"], opened["network"]) == ("configure", "a")
    assert again["pid"] != first["pid"]
    assert told.asked == 2
    attendant.tell({"op": "egress"})
    assert (await told.next())["op"] == "egress"
    await attendant.close()


@pytest.mark.asyncio
async def test_what_is_told_while_there_is_none_is_dropped_with_its_descriptors():
    told = Told()
    attendant = Attendant(MODULE, told.orders, told.events.put_nowait)
    before = own_descriptors()
    read, write = os.pipe()
    os.close(write)
    attendant.tell({"op": "open"}, [read])
    until_no_more(own_descriptors, before, SECONDS)


@pytest.mark.asyncio
async def test_one_that_never_gets_ready_is_started_again_less_and_less_often(monkeypatch):
    monkeypatch.setenv("ATTENDANT_FAILS", "1")
    pauses = []
    begun = asyncio.Event()
    told = Told()

    async def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 4:
            begun.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(attendants.asyncio, "sleep", pause)
    attendant = Attendant(MODULE, told.orders, told.events.put_nowait)
    attendant.start()
    await asyncio.wait_for(begun.wait(), SECONDS)
    assert pauses == [pauses[0] * factor for factor in (1, 2, 4, 8)]
    await attendant.close()


@pytest.mark.asyncio
async def test_closed_it_is_gone_with_all_it_had():
    before = own_descriptors()
    told = Told()
    attendant = await started(told)
    pid = (await told.next())["pid"]
    assert process(pid) is not None
    await attendant.close()
    await attendant.close()
    assert process(pid) is None
    assert attendant.pid is None
    until_no_more(own_descriptors, before, SECONDS)
