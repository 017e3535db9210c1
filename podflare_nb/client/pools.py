"""The connections underneath: one pool for each service, shared by every sandbox of a process.

A service on this machine is spoken to over our own sockets, any other by httpx, which knows TLS and the environment's
proxies. A pool lives until the process ends. After a fork the child starts with none: two processes must not speak on
one socket. Not the protocol: that is the connection's. Those of event loops are in ``async_pools``.
"""

from __future__ import annotations

import atexit
import os
import threading
from typing import TYPE_CHECKING

from .sockets import SocketTransport

if TYPE_CHECKING:
    from .endpoint import Endpoint
    from .lean_httpx import httpx
    from .transport import Transport

_lock = threading.Lock()
_of_process: dict[str, Transport] = {}


def owner() -> object:
    """Tell whom a pool belongs to: to this process, not to one that it forks."""
    return os.getpid()


def acquire(endpoint: Endpoint) -> Transport:
    """Give the process's pool for a service; made when first asked for."""
    with _lock:
        pool = _of_process.get(endpoint.origin)
        if pool is None:
            pool = _of_process[endpoint.origin] = _made(endpoint)
        return pool


def release(_endpoint: Endpoint) -> None:
    """Tell that a user of a pool is done: the process keeps it for the next."""


def carried_by(transport: httpx.BaseTransport) -> Transport:
    """Make a transport of one of httpx's."""
    from .through_httpx import HttpxTransport  # noqa: PLC0415 - httpx is most of the import time of those without

    return HttpxTransport(transport)


def close_all() -> None:
    """Close the process's pools; the next call makes new ones."""
    with _lock:
        pools = list(_of_process.values())
        _of_process.clear()
    for pool in pools:
        pool.close()


def _made(endpoint: Endpoint) -> Transport:
    if endpoint.is_plain_loopback:
        return SocketTransport(endpoint.url)
    from .through_httpx import ThroughClient  # noqa: PLC0415 - as above

    return carried_by(ThroughClient())


def _forget_after_fork() -> None:
    global _lock  # noqa: PLW0603 - the parent may have held it when it forked
    _lock = threading.Lock()
    _of_process.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
atexit.register(close_all)
