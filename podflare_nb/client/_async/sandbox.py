"""A sandbox from the caller's side: made, used, closed. Its parts are in the modules beside this one."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from podflare_nb.client._async.branching import AsyncBranching
from podflare_nb.client._async.calls import AsyncCalls
from podflare_nb.client._async.client import AsyncClient
from podflare_nb.client._async.connection import AsyncConnection
from podflare_nb.client._async.conversation import AsyncConversation
from podflare_nb.client._async.files import AsyncFiles
from podflare_nb.client._async.network import AsyncNetwork
from podflare_nb.client._async.packages import AsyncPackages
from podflare_nb.client._async.ports import AsyncPorts
from podflare_nb.client._async.terminals import AsyncTerminals
from podflare_nb.client._async.transcript import AsyncTranscript
from podflare_nb.client.errors import GoneError, NotFoundError
from podflare_nb.client.records import SandboxInfo, created_id
from podflare_nb.client.retry import RETRIES
from podflare_nb.client.starting import StartsWhenAwaited

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from podflare_nb.client.networks import Egress

SandboxInfos = list[SandboxInfo]
"""What ``list`` gives; the class below has a method of that name."""


class AsyncSandbox(
    StartsWhenAwaited,
    AsyncPackages,
    AsyncConversation,
    AsyncTranscript,
    AsyncBranching,
    AsyncTerminals,
    AsyncPorts,
    AsyncNetwork,
):
    """A notebook kernel of your own on the service: variables and files stay between calls.

    All arguments are optional; what is left out is the template's. ``template``: a name from ``templates()``;
    ``timeout_seconds``: its whole lifetime; ``idle_timeout_seconds``: how long it may be unused; ``ram_mib`` and
    ``rootfs_gb``: its memory and disk; ``egress``: what it may reach, True (the public internet), False (nothing) or
    ``{"allow": ["files.example.org", "*.example.com:443"]}``; ``labels`` and ``env``: strings by name; ``checkpoints``:
    after how many of its last turns its state is kept for ``rewind`` (0 to 100); ``host``, ``api_key``, ``retries`` and
    ``client``: the service, see AsyncClient. ``close`` ends it, and so does leaving ``async with``.
    """

    def __init__(  # noqa: PLR0913 - each is a field of the request
        self,
        template: str | None = None,
        *,
        host: str | None = None,
        api_key: str | None = None,
        client: AsyncClient | None = None,
        retries: int = RETRIES,
        timeout_seconds: int | None = None,
        idle_timeout_seconds: int | None = None,
        ram_mib: int | None = None,
        rootfs_gb: int | None = None,
        persistent: bool | None = None,
        egress: Egress | None = None,
        labels: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        checkpoints: int | None = None,
    ) -> None:
        self._wanted: dict[str, Any] = {
            "template": template,
            "timeout_seconds": timeout_seconds,
            "idle_timeout_seconds": idle_timeout_seconds,
            "ram_mib": ram_mib,
            "rootfs_gb": rootfs_gb,
            "persistent": persistent,
            "egress": egress,
            "labels": dict(labels) if labels is not None else None,
            "env": dict(env) if env is not None else None,
            "checkpoints": checkpoints,
        }
        self._calls = _calls_to(host, api_key, client, retries)
        self.files = AsyncFiles(self._calls)
        self._begin()

    async def start(self) -> Self:
        """Make the sandbox on the service; does nothing when it is there already."""
        if self._calls.sandbox_id is None:
            try:
                answer = await self._calls.connection.call("POST", "/v1/sandboxes", self._wanted, keyed=True)
            except BaseException:
                self._calls.closed = True
                await self._calls.settle()
                raise
            self._calls.closed = False
            self._calls.sandbox_id = created_id(answer)
        return self

    @classmethod
    async def connect(
        cls,
        sandbox_id: str,
        *,
        host: str | None = None,
        api_key: str | None = None,
        client: AsyncClient | None = None,
        retries: int = RETRIES,
    ) -> Self:
        """Take up a sandbox that exists, from any process; raises NotFoundError or GoneError otherwise."""
        calls = _calls_to(host, api_key, client, retries)
        calls.sandbox_id = sandbox_id
        # Until the service says that it lives: what is refused keeps no connection.
        calls.closed = True
        info = SandboxInfo.from_json(await calls.call("GET"))
        if info.state == "closed":
            message = info.end_message or f"The sandbox {sandbox_id} is closed."
            raise GoneError(message, status=410, details={"reason": info.end_reason})
        calls.closed = False
        return cls._of(calls)

    @classmethod
    async def list(
        cls, *, include_closed: bool = False, host: str | None = None, api_key: str | None = None
    ) -> SandboxInfos:
        """List your sandboxes, newest first."""
        async with AsyncClient(host, api_key) as client:
            return [info async for info in client.sandboxes(include_closed=include_closed)]

    @property
    def id(self) -> str:
        """The sandbox's id, ``sbx_`` and 32 hexadecimal digits."""
        return self._calls.id

    async def info(self) -> SandboxInfo:
        """Ask for its state, limits and times."""
        return SandboxInfo.from_json(await self._calls.call("GET"))

    async def extend(
        self,
        timeout_seconds: int | None = None,
        idle_timeout_seconds: int | None = None,
        *,
        labels: Mapping[str, str] | None = None,
    ) -> SandboxInfo:
        """Give it other timeouts (the lifetime counts from its creation) or other labels (all of them)."""
        body = {
            "timeout_seconds": timeout_seconds,
            "idle_timeout_seconds": idle_timeout_seconds,
            "labels": dict(labels) if labels is not None else None,
        }
        return SandboxInfo.from_json(await self._calls.call("PATCH", "", body, repeat="always"))

    async def upload(self, local: str | os.PathLike[str] | bytes, remote: str) -> None:
        """Copy a local file, or bytes, into the sandbox."""
        await self.files.write(remote, local if isinstance(local, bytes) else Path(local))

    async def download(self, remote: str) -> bytes:
        """Give the content of a file of the sandbox; ``files.download`` writes it to a local path."""
        return await self.files.read(remote)

    async def close(self) -> None:
        """End the sandbox: its processes and files are gone, its notebook stays. Idempotent."""
        if not self._calls.closed and self._calls.sandbox_id is not None:
            # It may have ended before (lifetime, idle, another process): that is what was wanted.
            with suppress(NotFoundError, GoneError):
                await self._calls.connection.call("DELETE", self._calls.path(), repeat="always")
            self._calls.closed = True
        await self._calls.settle()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        calls = self._calls
        state = "not started" if calls.sandbox_id is None else calls.sandbox_id
        ended = f" merged into {calls.merged_into}" if calls.merged_into else " closed" if calls.closed else ""
        return f"<{type(self).__name__} {state}{ended}>"


def _calls_to(host: str | None, api_key: str | None, client: AsyncClient | None, retries: int) -> AsyncCalls:
    connection = client.connection if client else AsyncConnection(host, api_key, retries=retries)
    return AsyncCalls(connection, owns_connection=client is None)
