"""Ports of one sandbox: which there are, connections to them, and how many."""

import asyncio
import socket

import pytest

from podflare_nb.errors import NoCapacityError, UnreachableError
from podflare_nb.provisioning.listening import Listener
from podflare_nb.sandboxes.port_links import Pass
from podflare_nb.sandboxes.ports import MOST_BY_LINK, MOST_CONNECTIONS, Ports

from .test_cookie_jar import Clock


class Handle:
    """A kernel's handle whose network is the test's own loopback."""

    def __init__(self, *listeners: Listener) -> None:
        self.listeners = listeners

    async def listening(self):
        return list(self.listeners)

    async def dial(self, family):
        return socket.socket(family)


def ports_of(*listeners: Listener) -> Ports:
    return Ports(lambda: Handle(*listeners), Clock())


async def test_a_port_is_listed_once_at_an_address_that_can_be_reached():
    ports = ports_of(Listener(80, "10.0.0.1"), Listener(80, "::"), Listener(80, "0.0.0.0"), Listener(81, "10.0.0.1"))
    assert [(each.port, each.address) for each in await ports.listening()] == [(80, "0.0.0.0"), (81, "10.0.0.1")]


async def test_a_server_at_the_other_loopback_is_found():
    with socket.socket(socket.AF_INET6) as server:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.bind(("::1", 0))
        server.listen()
        port = server.getsockname()[1]
        with await ports_of(Listener(port, "::1")).connect(port) as sock:
            assert sock.getpeername()[:2] == ("::1", port)


async def test_what_listens_elsewhere_or_nowhere_is_told():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UnreachableError, match=f"python -m http.server {port}"):
        await ports_of().connect(port)
    with pytest.raises(UnreachableError, match=r"does so at 10\.0\.0\.1 alone"):
        await ports_of(Listener(port, "10.0.0.1")).connect(port)


async def test_places_are_bounded_and_strangers_leave_some_to_the_owner():
    ports = ports_of()
    owner, guest = Pass(80, None), Pass(80, None, ends_at=int(Clock.now) + 60)
    held = [ports.place(guest, lambda: None) for _ in range(MOST_BY_LINK)]
    held += [ports.place(owner, lambda: None) for _ in range(MOST_CONNECTIONS - MOST_BY_LINK)]
    for at, place in enumerate(held):
        if at == MOST_BY_LINK:
            with pytest.raises(NoCapacityError), ports.place(guest, lambda: None):
                pass
        place.__enter__()
    with pytest.raises(NoCapacityError), ports.place(owner, lambda: None):
        pass
    for place in held:
        place.__exit__(None, None, None)
    with ports.place(guest, lambda: None), ports.place(owner, lambda: None):
        pass


async def test_a_place_by_link_is_closed_when_the_link_ends_or_is_revoked():
    ports = ports_of()
    over = asyncio.Event()
    with ports.place(Pass(80, None, ends_at=int(Clock.now)), over.set):
        async with asyncio.timeout(30):
            await over.wait()
    closed = []
    with (
        ports.place(Pass(80, None, ends_at=int(Clock.now) + 60), lambda: closed.append("guest")),
        ports.place(Pass(80, None), lambda: closed.append("owner")),
        ports.place(Pass(81, None, ends_at=int(Clock.now) + 60), lambda: closed.append("other port")),
    ):
        ports.revoke(80)
    assert closed == ["guest"]
