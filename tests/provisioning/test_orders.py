"""What the supervisor hears of a kernel over its control socket, and when it hears nothing more."""

import asyncio
import socket

import pytest

from podflare_nb.errors import NotFoundError
from podflare_nb.provisioning.orders import Orders

pytestmark = pytest.mark.asyncio


async def test_who_listens_to_a_kernel_hears_at_once_that_its_orders_are_closed():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        theirs.settimeout(60)
        orders = Orders(ours)
        listening = asyncio.create_task(orders.hear({"continued"}, 600))
        await asyncio.sleep(0)  # it waits now
        orders.close()
        with pytest.raises(NotFoundError):
            await asyncio.wait_for(listening, 60)
        assert theirs.recv(1) == b""
    assert ours.fileno() == -1
    orders.close()
