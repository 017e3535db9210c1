# Generated from podflare_nb/client/_async by scripts/generate_sync_client.py: change it there.
# ruff: noqa: C416, RUF100, SIM117, UP028 - loops and ignores are as the asynchronous original needs them
"""Requests to one service and their answers: JSON, streams of lines and raw bytes, with errors in our terms.

Knows HTTP and nothing of sandboxes. Repeats only what ``retry`` calls safe. Stands on ``pools``.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

from podflare_nb import __version__
from podflare_nb.client.endpoint import Endpoint, locate
from podflare_nb.client.errors import (
    ConnectionLostError,
    PodflareError,
    StreamBrokenError,
    UnexpectedAnswerError,
)
from podflare_nb.client.events import LineSplitter
from podflare_nb.client.failures import lost, refusal, unreachable
from podflare_nb.client.lean_httpx import httpx
from podflare_nb.client.pools import TIMEOUT, acquire, patient, release
from podflare_nb.client.retry import Failure, failure_of_status, pause_before_retry

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

STREAM_TIMEOUT = httpx.Timeout(connect=TIMEOUT.connect, read=None, write=TIMEOUT.write, pool=None)
USER_AGENT = f"podflare-nb-python/{__version__}"
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class Connection:
    """One service and one key. ``close`` is idempotent; a closed connection opens again when it is used."""

    def __init__(self, host: str | None = None, api_key: str | None = None) -> None:
        self.endpoint: Endpoint = locate(host, api_key)
        self._pool: httpx.BaseTransport | None = None
        self._process: int | None = None
        self._headers = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": USER_AGENT}
        if self.endpoint.api_key:
            self._headers["Authorization"] = f"Bearer {self.endpoint.api_key}"

    def __repr__(self) -> str:
        state = "idle" if self._pool is None else "open"
        return f"<{type(self).__name__} {self.endpoint.url} {state}>"

    def another(self) -> Self:
        """Give a connection of its own to the same service with the same key."""
        return type(self)(self.endpoint.url, self.endpoint.api_key)

    def close(self) -> None:
        """Give the shared pool back."""
        pool, self._pool = self._pool, None
        if pool is not None:
            release(self.endpoint, pool)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str | int] | None = None,
        wait_seconds: float = 0.0,
    ) -> Any:
        """Send JSON (fields that are None stay away) and give the JSON of the answer; None for an empty one.

        ``wait_seconds``: how long the service may wait before it begins to work on it.
        """
        response = self.open(method, path, body, params=params, timeout=patient(wait_seconds))
        content = self._whole(response)
        if not content:
            return None
        try:
            return json.loads(content)
        except ValueError:
            raise UnexpectedAnswerError(
                f"{response.url} answered {response.status_code} with something that is not JSON. Is the host "
                "right? It usually ends with /podflare.",
                status=response.status_code,
            ) from None

    def content(self, method: str, path: str) -> bytes:
        """Give the raw bytes of an answer."""
        return self._whole(self.open(method, path))

    def lines(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str | int] | None = None,
    ) -> Generator[bytes]:
        """Give the lines of a stream as they come; raises StreamBrokenError when it is cut."""
        response = self.open(method, path, body, params=params, timeout=STREAM_TIMEOUT)
        splitter = LineSplitter()
        try:
            for chunk in response.iter_raw():
                for line in splitter.feed(chunk):
                    yield line
        except httpx.TransportError as error:
            raise StreamBrokenError(
                f"The connection to {self.endpoint.url} was lost in the middle of a stream."
            ) from error
        finally:
            response.close()
        if splitter.rest().strip():
            raise StreamBrokenError(f"The stream from {self.endpoint.url} ended inside an event.")

    @contextmanager
    def download(self, path: str) -> Iterator[Iterator[bytes]]:
        """Open a file; the chunks of its content are inside."""
        response = self.open("GET", path)
        try:
            yield response.iter_bytes()
        except httpx.TransportError as error:
            raise ConnectionLostError(
                f"The connection to {self.endpoint.url} was lost in the middle of a file."
            ) from error
        finally:
            response.close()

    def open(  # noqa: PLR0913 - each is a field of the request
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str | int] | None = None,
        content: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: httpx.Timeout = TIMEOUT,  # noqa: ASYNC109 - handed on to httpx, which bounds each step
    ) -> httpx.Response:
        """Send, and give the answer with its body unread; the caller reads or closes it. Raises on a refusal."""
        own = dict(self._headers)
        if body is not None:
            content = json.dumps({name: value for name, value in body.items() if value is not None}).encode()
            own["Content-Type"] = "application/json"
        if headers:
            own.update(headers)
        pool = self._shared_pool()
        url = _url(self.endpoint.url + path) if params is None else httpx.URL(self.endpoint.url + path, params=params)
        extensions = {"timeout": timeout.as_dict()}
        attempt = 0
        while True:
            attempt += 1
            request = httpx.Request(method, url, headers=own, content=content, extensions=extensions)
            outcome = self._attempt(pool, request)
            if isinstance(outcome, httpx.Response):
                return outcome
            failure, error = outcome
            pause = pause_before_retry(failure, method, attempt, error.retry_after)
            if pause is None:
                raise error
            time.sleep(pause)

    def _shared_pool(self) -> httpx.BaseTransport:
        """Give the shared pool; a forked child gets another than its parent, whose sockets it must not use."""
        process = os.getpid()
        if self._pool is None or self._process != process:
            self._pool, self._process = acquire(self.endpoint), process
        return self._pool

    def _attempt(
        self, pool: httpx.BaseTransport, request: httpx.Request
    ) -> httpx.Response | tuple[Failure, PodflareError]:
        """Send once: the answer, or how it failed and the error that this is."""
        try:
            response = pool.handle_request(request)
        except _NOT_SENT as error:
            return "not_sent", unreachable(self.endpoint, error)
        except httpx.TransportError as error:
            return "cut", lost(self.endpoint, error)
        response.request = request
        if response.is_success:
            return response
        try:
            refused = refusal(self.endpoint, response, self._whole(response))
        except ConnectionLostError as error:
            return "cut", error
        return failure_of_status(response.status_code), refused

    def _whole(self, response: httpx.Response) -> bytes:
        try:
            return response.read()
        except httpx.TransportError as error:
            raise lost(self.endpoint, error) from error
        finally:
            response.close()


@lru_cache(maxsize=512)
def _url(url: str) -> httpx.URL:
    """Parse a URL, once for the many calls that go there."""
    return httpx.URL(url)
