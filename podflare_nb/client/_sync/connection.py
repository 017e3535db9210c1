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
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

from podflare_nb import __version__
from podflare_nb.client.endpoint import Endpoint, locate
from podflare_nb.client.errors import (
    ConnectionLostError,
    PodflareError,
    StreamBrokenError,
    UnexpectedAnswerError,
)
from podflare_nb.client.events import LineSplitter
from podflare_nb.client.failures import failed, refusal
from podflare_nb.client.pools import acquire, carried_by, owner, release
from podflare_nb.client.retry import RETRIES, Repeat, failure_of, pause_before_retry, repeat_of_method
from podflare_nb.client.transport import STREAM_TIMEOUTS, TIMEOUTS, Request, TransportError, json_of, patient

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from podflare_nb.client.lean_httpx import httpx
    from podflare_nb.client.transport import Answer, Timeouts, Transport

USER_AGENT = f"podflare-nb-python/{__version__}"


class Connection:
    """One service and one key. ``close`` is idempotent; a closed connection opens again when it is used.

    ``retries``: how often what failed and may safely be repeated is repeated. ``transport`` carries the requests
    instead of the shared pool; whoever made it ends it.
    """

    def __init__(
        self,
        host: str | None = None,
        api_key: str | None = None,
        *,
        retries: int = RETRIES,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.endpoint: Endpoint = locate(host, api_key)
        self._retries = retries
        self._transport = transport
        self._carrier = None if transport is None else carried_by(transport)
        self._pools: dict[Any, Transport] = {}
        self._headers = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": USER_AGENT}
        if self.endpoint.api_key:
            self._headers["Authorization"] = f"Bearer {self.endpoint.api_key}"

    def __repr__(self) -> str:
        state = "open" if self._pools else "idle"
        return f"<{type(self).__name__} {self.endpoint.url} {state}>"

    def another(self) -> Self:
        """Give a connection of its own to the same service with the same key."""
        return type(self)(self.endpoint.url, self.endpoint.api_key, retries=self._retries, transport=self._transport)

    def close(self) -> None:
        """Give the shared pool back: that of the calling event loop, as no other loop may close it."""
        if self._pools.pop(owner(), None) is not None:
            release(self.endpoint)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def call(  # noqa: PLR0913 - each says how the request is to be treated
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str | int] | None = None,
        wait_seconds: float = 0.0,
        keyed: bool = False,
        repeat: Repeat | None = None,
    ) -> Any:
        """Send JSON (fields that are None stay away) and give the JSON of the answer; None for an empty one.

        ``wait_seconds``: how long the service may wait before it begins to work on it. ``keyed``: send an idempotency
        key, by which the service knows a repetition; ``repeat``: what is allowed without (None: by its method).
        """
        request = self._request(method, path, body, params=params, timeouts=patient(wait_seconds))
        if keyed:
            request.headers["Idempotency-Key"] = os.urandom(16).hex()
            repeat = "always"
        answer, content = self._repeated(request, repeat or repeat_of_method(method), whole=True)
        if not content:
            return None
        try:
            return json.loads(content)
        except ValueError:
            raise UnexpectedAnswerError(
                f"{request.url} answered {answer.status} with something that is not JSON. Is the host right? It "
                "usually ends with /podflare.",
                status=answer.status,
            ) from None

    def content(self, method: str, path: str) -> bytes:
        """Give the raw bytes of an answer."""
        request = self._request(method, path)
        return (self._repeated(request, repeat_of_method(method), whole=True))[1]

    def line_groups(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str | int] | None = None,
    ) -> Generator[list[bytes]]:
        """Give the lines of a stream as they come, those that come together in one list.

        Raises StreamBrokenError when it is cut.
        """
        request = self._request(method, path, body, params=params, timeouts=STREAM_TIMEOUTS)
        answer, _ = self._repeated(request, repeat_of_method(method), whole=False)
        splitter = LineSplitter()
        try:
            for chunk in answer.chunks():
                if lines := splitter.feed(chunk):
                    yield lines
        except TransportError as error:
            raise StreamBrokenError(
                f"The connection to {self.endpoint.url} was lost in the middle of a stream ({error})."
            ) from error
        finally:
            answer.close()
        if splitter.rest().strip():
            raise StreamBrokenError(f"The stream from {self.endpoint.url} ended inside an event.")

    @contextmanager
    def download(self, path: str) -> Iterator[Iterator[bytes]]:
        """Open a file; the chunks of its content are inside."""
        answer, _ = self._repeated(self._request("GET", path), "always", whole=False)
        try:
            yield answer.chunks()
        except TransportError as error:
            raise ConnectionLostError(
                f"The connection to {self.endpoint.url} was lost in the middle of a file ({error})."
            ) from error
        finally:
            answer.close()

    def upload(self, path: str, pieces: Callable[[], Iterator[bytes]], size: int | None, repeat: Repeat) -> Any:
        """Send raw bytes; give the JSON of the answer. ``pieces`` begins anew each time that it is called."""
        request = self._request("PUT", path)
        request.headers["Content-Type"] = "application/octet-stream"
        if size is not None:
            request.headers["Content-Length"] = str(size)
        _, content = self._repeated(request, repeat, pieces, whole=True)
        return json.loads(content)

    def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str | int] | None = None,
        timeouts: Timeouts = TIMEOUTS,
    ) -> Request:
        url = self.endpoint.url + path
        if params:
            url = f"{url}?{urlencode(params)}"
        headers = dict(self._headers)
        if body is None:
            return Request(method, url, headers, None, timeouts)
        headers["Content-Type"] = "application/json"
        return Request(method, url, headers, json_of(body), timeouts)

    def _repeated(
        self,
        request: Request,
        repeat: Repeat,
        pieces: Callable[[], Iterator[bytes]] | None = None,
        *,
        whole: bool,
    ) -> tuple[Answer, bytes]:
        """Send as often as is safe and useful; give the answer, its body read or not. Raises on a refusal."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._attempt(request, pieces, whole=whole)
            except PodflareError as error:
                pause = pause_before_retry(failure_of(error), repeat, attempt, error.retry_after, retries=self._retries)
                if pause is None:
                    raise
            time.sleep(pause)

    def _attempt(
        self, request: Request, pieces: Callable[[], Iterator[bytes]] | None, *, whole: bool
    ) -> tuple[Answer, bytes]:
        """Send once."""
        try:
            answer = self._pool().send(request, pieces() if pieces else None)
            succeeded = 200 <= answer.status < 300
            if succeeded and not whole:
                return answer, b""
            try:
                content = answer.read()
            finally:
                answer.close()
        except TransportError as error:
            raise failed(self.endpoint, error) from error
        if not succeeded:
            raise refusal(self.endpoint, request.url, answer.status, answer.headers, content)
        return answer, content

    def _pool(self) -> Transport:
        """Give the shared pool; another process (a forked child), or another event loop, gets another."""
        if self._carrier is not None:
            return self._carrier
        whose = owner()
        pool = self._pools.get(whose)
        if pool is None:
            pool = self._pools[whose] = acquire(self.endpoint)
        return pool
