"""The gateway's process: from the first datagram to the end of the supervisor.

``{"op": "configure", "uid", "gid", "private_networks", "public_networks", "own_addresses", "max_connections"}`` with
the descriptors ``[router_netns?, conntrack_events?]`` comes first. Then, in this order: threads that resolve names
start, in the network namespace that we were started in; the main thread enters the router's, where every connection
outward is made; all privileges go; sandboxes are served. ``uid`` and ``gid`` default to nobody's, ``max_connections``
(of one sandbox) to 256.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import suppress
from typing import Any

import dns.rdata

from ....protocol.egress import address, host, networks
from ... import datagrams
from ...jail import syscalls
from .. import privileges
from ..addresses import Reach
from ..records import Records
from .control import Control, send
from .netlink_listener import NetlinkListener
from .pipes import Pipes
from .resolver import ENVIRONMENT, ResolverThreads
from .sandbox_network import Capacity, Surroundings

NOBODY = 65_534
MAX_CONNECTIONS = 256


def main(fd: int) -> None:
    """Be the gateway on our end of the supervisor's socket pair. Does not return."""
    logging.basicConfig(format="gateway: %(message)s", level=logging.WARNING)
    sock = socket.socket(fileno=fd)
    with suppress(datagrams.PeerClosedError):
        _be_gateway(sock)
    os._exit(0)  # a thread may wait for a name server, and must not hold us


def _be_gateway(sock: socket.socket) -> None:
    sock.settimeout(None)
    configuration = datagrams.receive(sock)
    body = configuration.body
    if body.get("op") != "configure":
        raise ValueError("the first datagram configures")
    os.environ.update(ENVIRONMENT)
    _load_the_rest()
    descriptors = privileges.raise_descriptor_limit()
    privileges.forgo_new()
    resolver = ResolverThreads()
    if configuration.fds:
        router = configuration.fds.pop(0)
        syscalls.setns(router, syscalls.CLONE_NEWNET)
        os.close(router)
    privileges.become(int(body.get("uid", NOBODY)), int(body.get("gid", NOBODY)))
    reach = Reach(
        networks(body.get("public_networks", ())),
        networks(body.get("private_networks", ())),
        frozenset(address(text) for text in body.get("own_addresses", ())),
    )
    capacity = Capacity(descriptors, int(body.get("max_connections", MAX_CONNECTIONS)))
    asyncio.run(_serve(sock, reach, resolver, capacity, configuration.fds))


def _load_the_rest() -> None:
    """What would be imported when it is first used, when we may no longer read where it lies."""
    dns.rdata.load_all_types()  # type: ignore[no-untyped-call]  # dnspython annotates all but this
    "a".encode("idna")
    host("\u00fc.example")  # with IDNA's tables and Punycode


async def _serve(
    sock: socket.socket, reach: Reach, resolver: ResolverThreads, capacity: Capacity, conntrack: list[int]
) -> None:
    sock.settimeout(0)
    records = Records(lambda body: send(sock, body))
    around = Surroundings(reach, resolver, Pipes(), records, capacity)
    control = Control(sock, around)
    events = [
        NetlinkListener(socket.socket(fileno=fd), control.read_ended_connections, lambda: records.lose(""))
        for fd in conntrack
    ]
    telling = asyncio.create_task(records.run())
    ready: dict[str, Any] = {"event": "ready"}
    send(sock, ready)
    await control.run()
    for listener in events:
        listener.close()
    telling.cancel()
