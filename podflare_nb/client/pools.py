"""The connections underneath: one pool for each service, shared by every sandbox of a process.

A service on this machine is spoken to by httpx's transport, its pool without what a Client adds to a call (a third
of a millisecond for redirects, cookies and hooks, none of which is used). Any other goes through a Client, which
knows the environment's proxies. A pool lives until the process ends. After a fork the child starts with none: two
processes must not speak on one socket. Not the protocol: that is the connection's. Those of event loops are in
``async_pools``.
"""

from __future__ import annotations

import atexit
import os
import threading
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

from .lean_httpx import httpx

if TYPE_CHECKING:
    from .endpoint import Endpoint

TIMEOUT = httpx.Timeout(connect=10.0, read=120.0, write=120.0, pool=None)
"""Of ordinary calls. A stream has no read timeout of its own: code may be silent for as long as it runs."""

LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=60.0)
"""No bound on connections: each running execution holds one, and a bound would make the next one wait for it."""


def patient(seconds: float) -> httpx.Timeout:
    """Give the timeouts of a call that the service itself may let wait for so long."""
    if not seconds:
        return TIMEOUT
    read = (TIMEOUT.read or 0.0) + seconds
    return httpx.Timeout(connect=TIMEOUT.connect, read=read, write=TIMEOUT.write, pool=None)


_lock = threading.Lock()
_of_process: dict[str, httpx.BaseTransport] = {}


class ThroughClient(httpx.BaseTransport):
    """A Client as a transport."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send, through a proxy if the environment says so."""
        return self._client.send(request, stream=True)

    def close(self) -> None:
        """Close the Client."""
        self._client.close()


def client_settings() -> dict[str, Any]:
    """Give the arguments of a Client."""
    # The key of each call says who calls, and callers with other keys share a pool: it keeps no cookie.
    return {"limits": LIMITS, "cookies": CookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))}


def transport_settings(endpoint: Endpoint) -> dict[str, Any]:
    """Give the arguments of a transport to this machine."""
    # Loading the certificate store takes 20 ms, which plain http has no use for. No redirect is followed.
    return {"limits": LIMITS, "verify": endpoint.url.startswith("https:"), "trust_env": False}


def acquire(endpoint: Endpoint) -> httpx.BaseTransport:
    """Give the process's pool for a service; made when first asked for."""
    with _lock:
        pool = _of_process.get(endpoint.origin)
        if pool is None:
            if endpoint.is_loopback:
                pool = httpx.HTTPTransport(**transport_settings(endpoint))
            else:
                pool = ThroughClient(httpx.Client(**client_settings()))
            _of_process[endpoint.origin] = pool
        return pool


def release(_endpoint: Endpoint, _pool: httpx.BaseTransport) -> None:
    """Tell that a user of a pool is done: the process keeps it for the next."""


def close_all() -> None:
    """Close the process's pools; the next call makes new ones."""
    with _lock:
        pools = list(_of_process.values())
        _of_process.clear()
    for pool in pools:
        pool.close()


def _forget_after_fork() -> None:
    global _lock  # noqa: PLW0603 - the parent may have held it when it forked
    _lock = threading.Lock()
    _of_process.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
atexit.register(close_all)
