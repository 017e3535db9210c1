# Generated from podflare_nb/client/_async by scripts/generate_sync_client.py: change it there.
# ruff: noqa: C416, RUF100, SIM117, UP028 - loops and ignores are as the asynchronous original needs them
"""What every part of a sandbox's surface stands on: its id, its connection and its path in the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from podflare_nb.client.errors import MergedError, NotOpenError
from podflare_nb.client.paths import url_segment

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from podflare_nb.client._sync.connection import Connection
    from podflare_nb.client.retry import Repeat


class Calls:
    """Calls below ``/v1/sandboxes/{id}``. Not made by users: the parts of Sandbox inherit or hold it."""

    def __init__(self, connection: Connection, *, owns_connection: bool) -> None:
        self.connection = connection
        self.sandbox_id: str | None = None
        self.merged_into: str | None = None
        self.closed = False
        self._owns_connection = owns_connection

    def beside(self, sandbox_id: str) -> Calls:
        """Give the calls of another sandbox of the same service: through the same client, else on their own."""
        connection = self.connection.another() if self._owns_connection else self.connection
        calls = Calls(connection, owns_connection=self._owns_connection)
        calls.sandbox_id = sandbox_id
        return calls

    def merged(self, parent: str) -> None:
        """Take note that this sandbox was merged: there is nothing to close any more."""
        self.merged_into = parent
        self.closed = True
        self.settle()

    @property
    def id(self) -> str:
        """The sandbox's id; raises NotOpenError while it has none."""
        if self.sandbox_id is None:
            raise NotOpenError(
                "This sandbox was not started yet: write `sandbox = Sandbox(...)` or `with Sandbox(...) as sandbox`."
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

    def call(  # noqa: PLR0913 - each says how the request is to be treated
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
            return self.connection.call(
                method, self.path(rest), body, params=params, wait_seconds=wait_seconds, keyed=keyed, repeat=repeat
            )
        finally:
            self.settle()

    def content(self, method: str, rest: str) -> bytes:
        """Get raw bytes."""
        try:
            return self.connection.content(method, self.path(rest))
        finally:
            self.settle()

    def line_groups(
        self,
        method: str,
        rest: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str | int] | None = None,
    ) -> Generator[list[bytes]]:
        """Get the lines of a stream, those that come together in one list; closing the generator ends the stream."""
        groups = self.connection.line_groups(method, self.path(rest), body, params=params)
        try:
            for group in groups:
                yield group
        finally:
            groups.close()
            self.settle()

    def settle(self) -> None:
        """Let go of the connection when the sandbox is closed: its notebook can still be asked for afterwards."""
        if self.closed and self._owns_connection:
            self.connection.close()
