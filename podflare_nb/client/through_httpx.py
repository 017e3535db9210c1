"""A transport to a service elsewhere, by httpx: TLS, and the proxies of the environment. Loaded when there is one.

Also carries requests over an httpx transport that a caller brings along.
"""

from __future__ import annotations

from contextlib import contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

from .lean_httpx import httpx
from .sockets import IDLE_SECONDS, MOST_IDLE
from .transport import CutError, NotSentError, SlowError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from .transport import Request, Timeouts

LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=MOST_IDLE, keepalive_expiry=IDLE_SECONDS)
"""No bound on connections: each running execution holds one, and a bound would make the next one wait for it."""


def client_settings() -> dict[str, Any]:
    """Give the arguments of a Client."""
    # The key of each call says who calls, and callers with other keys share a pool: it keeps no cookie.
    return {"limits": LIMITS, "cookies": CookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))}


class ThroughClient(httpx.BaseTransport):
    """A Client as an httpx transport."""

    def __init__(self) -> None:
        self._client = httpx.Client(**client_settings())

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send, through a proxy if the environment says so."""
        return self._client.send(request, stream=True)

    def close(self) -> None:
        """Close the Client."""
        self._client.close()


class ThroughAsyncClient(httpx.AsyncBaseTransport):
    """An AsyncClient as an httpx transport."""

    def __init__(self) -> None:
        self._client = httpx.AsyncClient(**client_settings())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send, through a proxy if the environment says so."""
        return await self._client.send(request, stream=True)

    async def aclose(self) -> None:
        """Close the AsyncClient."""
        await self._client.aclose()


class HttpxTransport:
    """transport.Transport over one of httpx's."""

    def __init__(self, carrier: httpx.BaseTransport) -> None:
        self._carrier = carrier

    def send(self, request: Request, pieces: Iterator[bytes] | None = None) -> HttpxAnswer:
        """Send and wait for the answer's head."""
        with _in_our_terms():
            return HttpxAnswer(self._carrier.handle_request(_request(request, pieces)))

    def close(self) -> None:
        """Close what is idle."""
        self._carrier.close()


class AsyncHttpxTransport:
    """transport.AsyncTransport over one of httpx's."""

    def __init__(self, carrier: httpx.AsyncBaseTransport) -> None:
        self._carrier = carrier

    async def send(self, request: Request, pieces: AsyncIterator[bytes] | None = None) -> AsyncHttpxAnswer:
        """Send and wait for the answer's head."""
        with _in_our_terms():
            return AsyncHttpxAnswer(await self._carrier.handle_async_request(_request(request, pieces)))

    async def aclose(self) -> None:
        """Close what is idle."""
        await self._carrier.aclose()


class HttpxAnswer:
    """transport.Answer of an httpx.Response."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers = {name.lower(): value for name, value in response.headers.items()}

    def chunks(self) -> Iterator[bytes]:
        """Give the body as it comes."""
        with _in_our_terms():
            yield from self._response.iter_bytes()

    def read(self) -> bytes:
        """Give the whole body."""
        with _in_our_terms():
            return self._response.read()

    def close(self) -> None:
        """Let go of the connection."""
        self._response.close()


class AsyncHttpxAnswer:
    """transport.AsyncAnswer of an httpx.Response."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers = {name.lower(): value for name, value in response.headers.items()}

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give the body as it comes."""
        with _in_our_terms():
            async for chunk in self._response.aiter_bytes():
                yield chunk

    async def read(self) -> bytes:
        """Give the whole body."""
        with _in_our_terms():
            return await self._response.aread()

    async def aclose(self) -> None:
        """Let go of the connection."""
        await self._response.aclose()


@contextmanager
def _in_our_terms() -> Iterator[None]:
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise NotSentError(_said(error)) from error
    except httpx.TimeoutException as error:
        raise SlowError(_said(error)) from error
    except (httpx.TransportError, httpx.DecodingError) as error:
        raise CutError(_said(error)) from error


def _request(request: Request, pieces: Iterator[bytes] | AsyncIterator[bytes] | None) -> httpx.Request:
    return httpx.Request(
        request.method,
        request.url,
        headers=dict(request.headers),
        content=request.content if pieces is None else pieces,
        extensions={"timeout": _timeout(request.timeouts)},
    )


def _timeout(timeouts: Timeouts) -> dict[str, float | None]:
    return {"connect": timeouts.connect, "read": timeouts.read, "write": timeouts.write, "pool": None}


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
