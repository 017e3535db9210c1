"""The requests of a shell channel, without a kernel."""

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
