"""The HTTP clients underneath, one for each service, shared by every sandbox of a process.

A client lives until the process ends. After a fork the child starts with none: two processes must not speak on
one socket. Not the protocol: that is the connection's. Those of event loops are in ``async_pools``.
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

_lock = threading.Lock()
_of_process: dict[str, httpx.Client] = {}


def settings(endpoint: Endpoint) -> dict[str, Any]:
    """Give the arguments of an HTTP client for a service."""
    return {
        "timeout": TIMEOUT,
        "limits": LIMITS,
        # The key of each call says who calls, and callers with other keys share a client: it keeps no cookie.
        "cookies": CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
        # Loading the certificate store takes 20 ms, which plain http has no use for. No redirect is followed.
        "verify": endpoint.url.startswith("https:"),
        # A service on this machine is never behind the proxy of the environment.
        "trust_env": not endpoint.is_loopback,
    }


def acquire(endpoint: Endpoint) -> httpx.Client:
    """Give the process's client for a service; made when first asked for."""
    with _lock:
        http = _of_process.get(endpoint.origin)
        if http is None:
            http = _of_process[endpoint.origin] = httpx.Client(**settings(endpoint))
        return http


def release(_endpoint: Endpoint, _http: httpx.Client) -> None:
    """Tell that a user of a client is done: the process keeps it for the next."""


def close_all() -> None:
    """Close the process's clients; the next call makes new ones."""
    with _lock:
        clients = list(_of_process.values())
        _of_process.clear()
    for http in clients:
        http.close()


def _forget_after_fork() -> None:
    global _lock  # noqa: PLW0603 - the parent may have held it when it forked
    _lock = threading.Lock()
    _of_process.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
atexit.register(close_all)
