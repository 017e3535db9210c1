"""The connections of event loops: one pool for each loop and service, shared by every sandbox used there.

A pool ends with its last user, as a loop must not be left with open sockets. A loop belongs to its process, so
a fork shares none.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from .async_sockets import AsyncSocketTransport

if TYPE_CHECKING:
    from .endpoint import Endpoint
    from .lean_httpx import httpx
    from .transport import AsyncTransport


@dataclass(slots=True)
class _Shared:
    pool: AsyncTransport
    users: int = 0


_of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Shared]] = WeakKeyDictionary()


def owner() -> asyncio.AbstractEventLoop:
    """Tell whom a pool belongs to: to the running event loop."""
    return asyncio.get_running_loop()


def acquire_async(endpoint: Endpoint) -> AsyncTransport:
    """Give the running event loop's pool for a service; made when first asked for."""
    pools = _of_loop.setdefault(asyncio.get_running_loop(), {})
    shared = pools.get(endpoint.origin)
    if shared is None:
        shared = pools[endpoint.origin] = _Shared(_made(endpoint))
    shared.users += 1
    return shared.pool


async def release_async(endpoint: Endpoint) -> None:
    """Tell that a user of the running event loop's pool is done: the last one closes it."""
    pools = _of_loop.get(asyncio.get_running_loop(), {})
    shared = pools.get(endpoint.origin)
    if shared is None:
        return
    shared.users -= 1
    if not shared.users:
        del pools[endpoint.origin]
        await shared.pool.aclose()


def carried_by(transport: httpx.AsyncBaseTransport) -> AsyncTransport:
    """Make a transport of one of httpx's."""
    from .through_httpx import AsyncHttpxTransport  # noqa: PLC0415 - httpx is most of the import time of those without

    return AsyncHttpxTransport(transport)


def _made(endpoint: Endpoint) -> AsyncTransport:
    if endpoint.is_plain_loopback:
        return AsyncSocketTransport(endpoint.url)
    from .through_httpx import ThroughAsyncClient  # noqa: PLC0415 - as above

    return carried_by(ThroughAsyncClient())
