"""The service as a whole: what it offers, what runs there. Sandboxes made with it share its connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from podflare_nb.client._async.connection import AsyncConnection
from podflare_nb.client.errors import PodflareError
from podflare_nb.client.records import Capabilities, SandboxInfo, Template
from podflare_nb.client.retry import RETRIES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from podflare_nb.client.lean_httpx import httpx

PAGE = 100


class AsyncClient:
    """One service and one key.

    ``host`` (``http://127.0.0.1:8888/podflare``) and ``api_key`` come from the arguments, else from
    PODFLARE_NB_URL and PODFLARE_NB_API_KEY (PODFLARE_HOST and PODFLARE_API_KEY also serve), else from the data
    directory of the service on this machine. ``AsyncSandbox(client=...)`` makes a sandbox there. ``retries``: how often
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
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.connection = AsyncConnection(host, api_key, retries=retries, transport=transport)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.connection.endpoint.url}>"

    async def capabilities(self) -> Capabilities:
        """Tell what the service can do, and how it isolates."""
        return Capabilities.from_json(await self.connection.call("GET", "/v1/capabilities"))

    async def templates(self) -> list[Template]:
        """List what sandboxes can be made from."""
        answer = await self.connection.call("GET", "/v1/templates")
        return [Template.from_json(one) for one in answer["templates"]]

    async def sandboxes(self, *, include_closed: bool = False) -> AsyncIterator[SandboxInfo]:
        """Go through your sandboxes, newest first, however many they are."""
        params: dict[str, str | int] = {"limit": PAGE}
        if include_closed:
            params["include_closed"] = "true"
        while True:
            page = await self.connection.call("GET", "/v1/sandboxes", params=params)
            for one in page["sandboxes"]:
                yield SandboxInfo.from_json(one)
            if not page.get("next_cursor"):
                return
            params["cursor"] = page["next_cursor"]

    async def is_healthy(self) -> bool:
        """Whether a service answers at the URL; needs no key."""
        try:
            return (await self.connection.content("GET", "/v1/healthz")).strip() == b"ok"
        except PodflareError:
            return False

    async def close(self) -> None:
        """Let go of the connection; sandboxes live on. Idempotent."""
        await self.connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()
