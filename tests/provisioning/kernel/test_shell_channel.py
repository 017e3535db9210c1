"""The requests of a shell channel, without a kernel."""
# ruff: noqa: ASYNC110 - tasks tell nobody that they have begun, or are all done

import asyncio
from contextvars import copy_context

import pytest
import zmq

from podflare_nb.provisioning.kernel.interrupts import Interrupts
from podflare_nb.provisioning.kernel.shell_channel import ShellChannel

SECONDS = 60


@pytest.fixture
def sockets():
    with zmq.Context() as context, context.socket(zmq.ROUTER) as shell, context.socket(zmq.DEALER) as client:
        shell.bind("inproc://shell")
        client.connect("inproc://shell")
        yield shell, client


async def test_what_has_come_is_handled_and_not_what_comes_for_ever(sockets):
    shell, client = sockets
    handled = []

    async def handle(message):
        handled.append(message[-1].bytes)
        client.send(b"and another one")

    channel = ShellChannel(shell, Interrupts(), copy_context())
    channel.between = lambda: True
    channel.serve(handle, lambda _: False, lambda: None)
    try:
        async with asyncio.timeout(SECONDS):
            assert not await channel.exhaust()
            for each in (b"one", b"two"):
                client.send(each)
            assert await channel.exhaust()
    finally:
        channel.finish()
    assert handled == [b"one", b"two"]


async def test_comm_messages_without_end_do_not_keep_other_work_from_being_asked_for(sockets):
    shell, client = sockets
    handled, asked = [], asyncio.Event()

    async def handle(message):
        handled.append(message)
        client.send(b"comm")
        await asyncio.sleep(0.001)  # for others to overtake it

    def between():
        if len(handled) > 3:
            asked.set()
        return asked.is_set()

    channel = ShellChannel(shell, Interrupts(), copy_context())
    channel.between = between
    channel.serve(handle, lambda _: True, lambda: None)
    try:
        for _ in range(3):
            client.send(b"comm")
        async with asyncio.timeout(SECONDS):
            await asked.wait()
    finally:
        channel.finish()
        while asyncio.all_tasks() > {asyncio.current_task()}:
            await asyncio.sleep(0.001)


async def test_a_message_that_overtakes_is_handled_while_a_request_runs(sockets):
    shell, client = sockets
    handled, go_on = [], asyncio.Event()

    async def handle(message):
        handled.append(message[-1].bytes)
        if message[-1].bytes == b"cell":
            await go_on.wait()
        if message[-1].bytes == b"comm":
            go_on.set()
        if message[-1].bytes == b"last":
            done.set()

    done = asyncio.Event()
    channel = ShellChannel(shell, Interrupts(), copy_context())
    channel.serve(handle, lambda message: message[-1].bytes == b"comm", lambda: None)
    try:
        async with asyncio.timeout(SECONDS):
            client.send(b"cell")
            while not handled:
                await asyncio.sleep(0.001)
            for each in (b"next", b"comm", b"last"):
                client.send(each)
            await done.wait()
    finally:
        channel.finish()
    assert handled == [b"cell", b"comm", b"next", b"last"]
