# Generated from podflare_nb/client/_async by scripts/generate_sync_client.py: change it there.
# ruff: noqa: C416, RUF100, SIM117, UP028 - loops and ignores are as the asynchronous original needs them
"""The service as a whole: what it offers, what runs there. Sandboxes made with it share its connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from podflare_nb.client._sync.connection import Connection
from podflare_nb.client.errors import PodflareError
from podflare_nb.client.records import Capabilities, SandboxInfo, Template
from podflare_nb.client.retry import RETRIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from podflare_nb.client.lean_httpx import httpx

PAGE = 100


class Client:
    """One service and one key.

    ``host`` (``http://127.0.0.1:8888/podflare``) and ``api_key`` come from the arguments, else from
    PODFLARE_NB_URL and PODFLARE_NB_API_KEY (PODFLARE_HOST and PODFLARE_API_KEY also serve), else from the data
    directory of the service on this machine. ``Sandbox(client=...)`` makes a sandbox there. ``retries``: how often
    what failed and may safely be repeated is repeated (reads, creates and forks, and what was refused with a
    Retry-After of at most 10 s); 0 for never. ``transport`` carries the requests instead of a socket, as in tests;
    whoever made it ends it.
    """

    def __init__(
        self,
        host: str | None = None,
        api_key: str | None = None,
        *,
        retries: int = RETRIES,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.connection = Connection(host, api_key, retries=retries, transport=transport)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.connection.endpoint.url}>"

    def capabilities(self) -> Capabilities:
        """Tell what the service can do, and how it isolates."""
        return Capabilities.from_json(self.connection.call("GET", "/v1/capabilities"))

    def templates(self) -> list[Template]:
        """List what sandboxes can be made from."""
        answer = self.connection.call("GET", "/v1/templates")
        return [Template.from_json(one) for one in answer["templates"]]

    def sandboxes(self, *, include_closed: bool = False) -> Iterator[SandboxInfo]:
        """Go through your sandboxes, newest first, however many they are."""
        params: dict[str, str | int] = {"limit": PAGE}
        if include_closed:
            params["include_closed"] = "true"
        while True:
            page = self.connection.call("GET", "/v1/sandboxes", params=params)
            for one in page["sandboxes"]:
                yield SandboxInfo.from_json(one)
            if not page.get("next_cursor"):
                return
            params["cursor"] = page["next_cursor"]

    def is_healthy(self) -> bool:
        """Whether a service answers at the URL; needs no key."""
        try:
            return (self.connection.content("GET", "/v1/healthz")).strip() == b"ok"
        except PodflareError:
            return False

    def close(self) -> None:
        """Let go of the connection; sandboxes live on. Idempotent."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
