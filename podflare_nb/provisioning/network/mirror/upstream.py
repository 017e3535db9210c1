"""The only way out of the mirror: GET requests to indexes of the operator, and to where they point.

Blocks: credentials reaching any other origin than the one they are configured for; redirects to anything but http and
https, and from https to http; a file's address or a redirect that leads to an address that is not public, unless the
operator named its host (a package's author may choose the address of a file, and would reach the host's neighbours).
The name is resolved once and the connection made to what was checked. Behind a proxy nothing can be resolved here:
then only hosts that the operator named are reached.

Does not: decide who may ask, or trust what comes back.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpcore

from ....protocol import egress
from ..addresses import Reach
from .settings import PORTS, Settings, Site

MAX_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
TIMEOUTS = {"connect": 10.0, "read": 30.0, "write": 10.0, "pool": 60.0}
MAX_PAGE_BYTES = 64 << 20
CONNECTIONS = 64
AGENT = b"podflare_nb-mirror"


LASTING = 424
"""RFC 4918, 11.4. Tools tell the sentence of a 4xx; a 5xx they repeat with pauses (pip 24.2, npm), and tell no more of
it than its number."""
PASSING = 502
"""For what may be right when it is asked for again."""


class UpstreamError(Exception):
    """An index cannot be used. The sentence is for the tenant: it holds no address but the host's name."""

    def __init__(self, sentence: str, status: int = LASTING) -> None:
        super().__init__(sentence)
        self.status = status


class NotInIndexError(UpstreamError):
    """The index has no such thing."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, 404)


@dataclass(frozen=True, slots=True)
class Page:
    """A small answer, whole. ``body`` None: not modified. ``url``: where it was found in the end."""

    url: str
    body: bytes | None
    content_type: str
    etag: str | None


class Upstream:
    """``fetch`` and ``stream``; ``aclose`` it in the end."""

    def __init__(self, settings: Settings, reach: Reach) -> None:
        self._trusted = settings.hosts()
        self._proxied = settings.proxy is not None
        context = ssl.create_default_context(cafile=settings.ca_bundle)
        limits = {"max_connections": CONNECTIONS, "max_keepalive_connections": 16, "keepalive_expiry": 60.0}
        backend = None if self._proxied else _CheckedBackend(self._trusted, reach)
        proxy = None if settings.proxy is None else httpcore.Proxy(settings.proxy)
        self._pool = httpcore.AsyncConnectionPool(context, proxy=proxy, network_backend=backend, **limits)  # type: ignore[arg-type]  # limits' values are of two types

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    async def fetch(self, site: Site, url: str, *, accept: str, etag: str | None = None) -> Page:
        """A page of an index, unpacked. Raises UpstreamError."""
        wanted = [(b"Accept", accept.encode()), (b"Accept-Encoding", b"gzip")]
        if etag is not None:
            wanted.append((b"If-None-Match", etag.encode("latin-1")))
        async with self.stream(site, url, wanted) as (response, final):
            headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
            kind, tag = headers.get(b"content-type", ""), headers.get(b"etag")
            if response.status == 304 and etag is not None:
                return Page(final, None, kind, etag)
            check_status(response.status, site)
            body = bytearray()
            packed = headers.get(b"content-encoding", "identity").strip().lower()
            if packed not in {"identity", "gzip"}:
                raise UpstreamError(f"The index at {site.host} answered in the coding {packed!r}, which nobody asked.")
            unpack = zlib.decompressobj(wbits=31) if packed == "gzip" else None
            async for chunk in response.aiter_stream():
                body += chunk if unpack is None else unpack.decompress(chunk, MAX_PAGE_BYTES + 1 - len(body))
                if len(body) > MAX_PAGE_BYTES:
                    raise UpstreamError(f"The page at {site.host} is larger than {MAX_PAGE_BYTES >> 20} MiB.")
            if unpack is not None and not unpack.eof:
                raise UpstreamError(f"The index at {site.host} ended in the middle of a page.", PASSING)
        return Page(final, bytes(body), kind, tag)

    @asynccontextmanager
    async def stream(
        self, site: Site, url: str, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> AsyncIterator[tuple[httpcore.Response, str]]:
        """A GET, its redirects followed; the answer and where it came from in the end. Raises UpstreamError."""
        try:
            for _ in range(MAX_REDIRECTS + 1):
                self._check(site, url)
                sent = [*headers, *self._own_headers(site, url)]
                async with self._pool.stream("GET", url, headers=sent, extensions={"timeout": TIMEOUTS}) as response:
                    if response.status not in REDIRECTS:
                        yield response, url
                        return
                    url = self._redirected(site, url, response)
        except (httpcore.TimeoutException, TimeoutError) as error:
            raise UpstreamError(f"The index at {site.host} does not answer in time.", 504) from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError, OSError, zlib.error) as error:
            sentence = f"The index at {site.host} cannot be reached, or broke off its answer."
            raise UpstreamError(sentence, PASSING) from error
        raise UpstreamError(f"The index at {site.host} redirects without end.")

    def _own_headers(self, site: Site, url: str) -> list[tuple[bytes, bytes]]:
        """Every request's; credentials only for the origin that they are of."""
        parts = urlsplit(url)
        headers = [(b"Host", parts.netloc.rpartition("@")[2].encode()), (b"User-Agent", AGENT)]
        if site.authorization is not None and _origin(url) == site.origin:
            headers.append((b"Authorization", site.authorization.encode("latin-1")))
        return headers

    def _check(self, site: Site, url: str) -> None:
        try:
            scheme, name, _ = _origin(url)
        except (ValueError, KeyError) as error:
            raise UpstreamError(f"The index at {site.host} points to an address that cannot be used.") from error
        if scheme not in PORTS or (self._proxied and name not in self._trusted):
            raise UpstreamError(f"The index at {site.host} points to {name}, which the operator has not allowed.")

    @staticmethod
    def _redirected(site: Site, url: str, response: httpcore.Response) -> str:
        target = next((value for name, value in response.headers if name.lower() == b"location"), b"")
        with suppress(ValueError):  # of an address that is none
            found = urljoin(url, target.decode("latin-1"))
            if target and (found.startswith("https:") or not url.startswith("https:")):
                return found
        raise UpstreamError(f"The index at {site.host} redirects to where nobody may follow.")


def check_status(status: int, site: Site) -> None:
    """Raise UpstreamError for any answer but 200, without anything of the answer's own text."""
    if status == 200:
        return
    if status in {404, 410}:
        raise NotInIndexError(f"The index at {site.host} has no such thing.")
    if status in {401, 403, 407}:
        raise UpstreamError(
            f"The index at {site.host} refused it to this service (status {status}); its operator knows why."
        )
    passing = 503 if status == 429 else PASSING if status >= 500 else LASTING
    raise UpstreamError(f"The index at {site.host} answered with status {status}.", passing)


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, str(egress.host(parts.hostname or "")), parts.port or PORTS[parts.scheme]


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    """Resolves a name once and connects to an address that is allowed."""

    def __init__(self, trusted: frozenset[str], reach: Reach) -> None:
        self._below = httpcore.AnyIOBackend()
        self._trusted = trusted
        self._reach = reach

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """As AsyncNetworkBackend.connect_tcp; to the first address that answers."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError("the name cannot be resolved") from error
        allowed = [str(info[4][0]) for info in found if self._may(host, str(info[4][0]))]
        failure: Exception = httpcore.ConnectError("no address of it may be reached")
        for address in allowed:
            try:
                return await self._below.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    def _may(self, name: str, address: str) -> bool:
        try:
            return str(egress.host(name)) in self._trusted or self._reach.is_public(egress.address(address))
        except ValueError:
            return False
