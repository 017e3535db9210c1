"""The service as commands see it: HTTP calls whose refusals are the service's own sentences.

Not the SDK: commands print what the service says and need none of its conveniences.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from ..client.lean_httpx import httpx
from ..config import default_data_dir
from ..errors import InvalidArgumentError, NoCapacityError, PodflareError, UnauthenticatedError
from . import running_service

CONNECT_SECONDS = 5.0


class ServiceError(PodflareError):
    """The service refused, or failed; the message is its sentence."""

    code = "service"


class Api:
    """A context manager around one HTTP client."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url.rstrip("/")
        # A stream is silent for as long as code runs; only connecting may time out.
        timeout = httpx.Timeout(None, connect=CONNECT_SECONDS)
        self._http = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {key}"}, timeout=timeout, trust_env=False
        )

    @classmethod
    def of(cls, url: str | None, key: str | None, data_dir: Path | None) -> Self:
        """Reach the named service, or the one that runs here."""
        directory = data_dir or default_data_dir()
        url = url or running_service.find(directory).url
        if not url.startswith(("http://", "https://")):
            raise InvalidArgumentError(f"{url!r} is not the URL of a service, as http://127.0.0.1:8888/podflare.")
        key = key or running_service.read_key(directory)
        if key is None:
            raise UnauthenticatedError("No API key: name one with --api-key or PODFLARE_NB_API_KEY.")
        return cls(url, key)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, **query: Any) -> Any:
        """Call ``/v1/<path>``; give the answer's JSON, None for an empty one."""
        content = self.content(method, path, body, **query)
        return json.loads(content) if content else None

    def content(self, method: str, path: str, body: dict[str, Any] | None = None, **query: Any) -> bytes:
        """Call ``/v1/<path>``; give the answer's bytes."""
        given = {name: value for name, value in query.items() if value is not None}
        try:
            response = self._http.request(method, f"/v1/{path}", json=body, params=given)
        except httpx.TransportError as error:
            raise self._lost(error) from error
        _refuse(response.status_code, response.content)
        return response.content

    @contextmanager
    def events(self, method: str, path: str, body: dict[str, Any] | None = None) -> Iterator[Iterator[dict[str, Any]]]:
        """Call ``/v1/<path>`` and give its NDJSON events as they come."""
        try:
            with self._http.stream(method, f"/v1/{path}", json=body) as response:
                if response.is_error:
                    _refuse(response.status_code, response.read())
                yield (json.loads(line) for line in response.iter_lines() if line)
        except httpx.TransportError as error:
            raise self._lost(error) from error

    def _lost(self, error: Exception) -> NoCapacityError:
        return NoCapacityError(f"The service at {self.url} does not answer ({error or type(error).__name__}).")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _refuse(status: int, content: bytes) -> None:
    if status < 400:
        return
    try:
        raise ServiceError(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError):
        raise ServiceError(f"The service answered with status {status}; is this URL a podflare_nb service?") from None
