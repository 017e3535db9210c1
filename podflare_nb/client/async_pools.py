"""The connections of event loops: one pool for each loop and service, shared by every sandbox used there.

A pool ends with its last user, as a loop must not be left with open sockets. A loop belongs to its process, so
a fork shares none.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from .lean_httpx import httpx
from .pools import client_settings, transport_settings

if TYPE_CHECKING:
    from .endpoint import Endpoint


class ThroughAsyncClient(httpx.AsyncBaseTransport):
    """An AsyncClient as a transport; ``pools`` says what for."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send, through a proxy if the environment says so."""
        return await self._client.send(request, stream=True)

    async def aclose(self) -> None:
        """Close the Client."""
        await self._client.aclose()


@dataclass(slots=True)
class _Shared:
    pool: httpx.AsyncBaseTransport
    users: int = 0


_of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Shared]] = WeakKeyDictionary()


def acquire_async(endpoint: Endpoint) -> httpx.AsyncBaseTransport:
    """Give the running event loop's pool for a service; made when first asked for."""
    pools = _of_loop.setdefault(asyncio.get_running_loop(), {})
    shared = pools.get(endpoint.origin)
    if shared is None:
        pool: httpx.AsyncBaseTransport
        if endpoint.is_loopback:
            pool = httpx.AsyncHTTPTransport(**transport_settings(endpoint))
        else:
            pool = ThroughAsyncClient(httpx.AsyncClient(**client_settings()))
        shared = pools[endpoint.origin] = _Shared(pool)
    shared.users += 1
    return shared.pool


async def release_async(endpoint: Endpoint, pool: httpx.AsyncBaseTransport) -> None:
    """Tell that a user of a pool is done: the last one closes it."""
    pools = _of_loop.get(asyncio.get_running_loop(), {})
    shared = pools.get(endpoint.origin)
    if shared is None or shared.pool is not pool:
        return
    shared.users -= 1
    if not shared.users:
        del pools[endpoint.origin]
        await pool.aclose()
