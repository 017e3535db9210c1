"""The HTTP clients of event loops: one for each loop and service, shared by every sandbox used there.

A client ends with its last user, as a loop must not be left with open sockets. A loop belongs to its process, so
a fork shares none.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from .lean_httpx import httpx
from .pools import settings

if TYPE_CHECKING:
    from .endpoint import Endpoint


@dataclass(slots=True)
class _Shared:
    http: httpx.AsyncClient
    users: int = 0


_of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Shared]] = WeakKeyDictionary()


def acquire_async(endpoint: Endpoint) -> httpx.AsyncClient:
    """Give the running event loop's client for a service; made when first asked for."""
    clients = _of_loop.setdefault(asyncio.get_running_loop(), {})
    shared = clients.get(endpoint.origin)
    if shared is None:
        shared = clients[endpoint.origin] = _Shared(httpx.AsyncClient(**settings(endpoint)))
    shared.users += 1
    return shared.http


async def release_async(endpoint: Endpoint, http: httpx.AsyncClient) -> None:
    """Tell that a user of a client is done: the last one closes it."""
    clients = _of_loop.get(asyncio.get_running_loop(), {})
    shared = clients.get(endpoint.origin)
    if shared is None or shared.http is not http:
        return
    shared.users -= 1
    if not shared.users:
        del clients[endpoint.origin]
        await http.aclose()
