"""What every part of a sandbox's surface stands on: its id, its connection and its path in the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from podflare_nb.client.errors import MergedError, NotOpenError
from podflare_nb.client.paths import url_segment

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from podflare_nb.client._async.connection import AsyncConnection
    from podflare_nb.client.retry import Repeat


class AsyncCalls:
    """Calls below ``/v1/sandboxes/{id}``. Not made by users: the parts of AsyncSandbox inherit or hold it."""

    def __init__(self, connection: AsyncConnection, *, owns_connection: bool) -> None:
        self.connection = connection
        self.sandbox_id: str | None = None
        self.merged_into: str | None = None
        self.closed = False
        self._owns_connection = owns_connection

    def beside(self, sandbox_id: str) -> AsyncCalls:
        """Give the calls of another sandbox of the same service: through the same client, else on their own."""
        connection = self.connection.another() if self._owns_connection else self.connection
        calls = AsyncCalls(connection, owns_connection=self._owns_connection)
        calls.sandbox_id = sandbox_id
        return calls

    async def merged(self, parent: str) -> None:
        """Take note that this sandbox was merged: there is nothing to close any more."""
        self.merged_into = parent
        self.closed = True
        await self.settle()

    @property
    def id(self) -> str:
        """The sandbox's id; raises NotOpenError while it has none."""
        if self.sandbox_id is None:
            raise NotOpenError(
                "This sandbox was not started yet: write `sandbox = await AsyncSandbox(...)` or "
                "`async with AsyncSandbox(...) as sandbox`."
            )
        return self.sandbox_id

    def path(self, rest: str = "") -> str:
        """Give the URL path of something of this sandbox; raises MergedError for what a merge took away."""
        if self.merged_into and not rest.startswith("/notebook"):
            raise MergedError(
                f"{self.id} was merged into {self.merged_into}: use that one. Its notebook can still be read.",
                details={"merged_into": self.merged_into},
            )
        return f"/v1/sandboxes/{url_segment(self.id)}{rest}"

    async def call(  # noqa: PLR0913 - each says how the request is to be treated
        self,
        method: str,
        rest: str = "",
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str | int] | None = None,
        wait_seconds: float = 0.0,
        keyed: bool = False,
        repeat: Repeat | None = None,
    ) -> Any:
        """Send JSON, get JSON; the arguments are the connection's."""
        try:
            return await self.connection.call(
                method, self.path(rest), body, params=params, wait_seconds=wait_seconds, keyed=keyed, repeat=repeat
            )
        finally:
            await self.settle()

    async def content(self, method: str, rest: str) -> bytes:
        """Get raw bytes."""
        try:
            return await self.connection.content(method, self.path(rest))
        finally:
            await self.settle()

    async def line_groups(
        self,
        method: str,
        rest: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str | int] | None = None,
    ) -> AsyncGenerator[list[bytes]]:
        """Get the lines of a stream, those that come together in one list; closing the generator ends the stream."""
        groups = self.connection.line_groups(method, self.path(rest), body, params=params)
        try:
            async for group in groups:
                yield group
        finally:
            await groups.aclose()
            await self.settle()

    async def settle(self) -> None:
        """Let go of the connection when the sandbox is closed: its notebook can still be asked for afterwards."""
        if self.closed and self._owns_connection:
            await self.connection.close()
