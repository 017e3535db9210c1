"""Makes, resumes and ends the sandboxes of the Agents SDK's sandbox sessions on a podflare_nb service."""

from __future__ import annotations

import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

from agents.sandbox import ErrorCode, Manifest
from agents.sandbox.errors import ConfigurationError
from agents.sandbox.session.sandbox_client import BaseSandboxClient
from agents.sandbox.snapshot import resolve_snapshot

from podflare_nb.client import AsyncClient, AsyncSandbox, GoneError, NotFoundError

from .session import PodflareSandboxSession
from .state import TYPE, WORKSPACE, PodflareSandboxClientOptions, PodflareSandboxSessionState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agents.sandbox import SnapshotSpec
    from agents.sandbox.session import Dependencies, Instrumentation, SandboxSession, SandboxSessionState
    from agents.sandbox.snapshot import SnapshotBase

    from podflare_nb.client import Egress


class PodflareSandboxClient(BaseSandboxClient[PodflareSandboxClientOptions | None]):
    """Sandboxes for ``SandboxRunConfig(client=PodflareSandboxClient())``.

    ``host`` and ``api_key``: the service, as for AsyncSandbox. Options may be left out.
    """

    backend_id = TYPE
    supports_default_options = True

    def __init__(
        self,
        host: str | None = None,
        api_key: str | None = None,
        *,
        instrumentation: Instrumentation | None = None,
        dependencies: Dependencies | None = None,
    ) -> None:
        self._host = host
        self._api_key = api_key
        self._instrumentation = instrumentation
        self._dependencies = dependencies

    async def create(
        self,
        *,
        snapshot: SnapshotSpec | SnapshotBase | None = None,
        manifest: Manifest | None = None,
        options: PodflareSandboxClientOptions | None = None,
    ) -> SandboxSession:
        """Make a sandbox; raises ConfigurationError for a manifest that asks for what no podflare sandbox has."""
        manifest = manifest or Manifest(root=WORKSPACE)
        _check(manifest)
        options = options or PodflareSandboxClientOptions()
        session_id = uuid.uuid4()
        environment = await manifest.environment.resolve()
        connections = AsyncClient(self._host, self._api_key)
        async with _closed_on_failure(connections):
            sandbox = await _make(options, environment, connections)
        state = PodflareSandboxSessionState(
            session_id=session_id,
            manifest=manifest,
            snapshot=resolve_snapshot(snapshot, str(session_id)),
            sandbox_id=sandbox.id,
            options=options,
        )
        session = PodflareSandboxSession(state, sandbox, connections, environment)
        return self._wrap_session(session, instrumentation=self._instrumentation)

    async def resume(self, state: SandboxSessionState) -> SandboxSession:
        """Take up the sandbox of a state; when it has ended, make another, which starts from the state's snapshot."""
        if not isinstance(state, PodflareSandboxSessionState):
            raise TypeError(f"PodflareSandboxClient resumes states of its own, not {type(state).__name__}.")
        state.assert_path_grants_rebound()
        _check(state.manifest)
        environment = await state.manifest.environment.resolve()
        connections = AsyncClient(self._host, self._api_key)
        async with _closed_on_failure(connections):
            try:
                sandbox = await AsyncSandbox.connect(state.sandbox_id, client=connections)
            except (GoneError, NotFoundError):
                sandbox = await _make(state.options, environment, connections)
        lives = sandbox.id == state.sandbox_id
        if not lives:
            state.sandbox_id = sandbox.id
            state.workspace_root_ready = False
        session = PodflareSandboxSession(state, sandbox, connections, environment)
        session._set_start_state_preserved(lives)  # noqa: SLF001 - the SDK's hook for its backends
        return self._wrap_session(session, instrumentation=self._instrumentation)

    @staticmethod
    def sandbox_of(session: SandboxSession) -> AsyncSandbox:
        """Give the sandbox of a session: for its notebook, its Python (``podflare_code_interpreter``), its branches."""
        inner = session._inner  # noqa: SLF001 - the SDK's own backends reach theirs so
        if not isinstance(inner, PodflareSandboxSession):
            raise TypeError(f"This is a session of {type(inner).__name__}, not of a podflare sandbox.")
        return inner.sandbox

    async def delete(self, session: SandboxSession) -> SandboxSession:
        """End the session's sandbox, unless its options say ``keep_open``. Idempotent."""
        await session.shutdown()
        return session

    def deserialize_session_state(self, payload: dict[str, object]) -> SandboxSessionState:
        """Read a state that ``serialize_session_state`` wrote."""
        return self._deserialize_session_state_payload(payload, PodflareSandboxSessionState)


@asynccontextmanager
async def _closed_on_failure(connections: AsyncClient) -> AsyncIterator[None]:
    try:
        yield
    except BaseException:
        await connections.close()
        raise


async def _make(
    options: PodflareSandboxClientOptions, environment: dict[str, str], connections: AsyncClient
) -> AsyncSandbox:
    return await AsyncSandbox(
        options.template,
        client=connections,
        timeout_seconds=options.timeout_seconds,
        idle_timeout_seconds=options.idle_timeout_seconds,
        ram_mib=options.ram_mib,
        rootfs_gb=options.rootfs_gb,
        egress=cast("Egress | None", options.egress),  # pydantic takes no TypedDict before Python 3.12
        labels=options.labels,
        env=environment or None,
    )


def _check(manifest: Manifest) -> None:
    wishes = {
        f"its root is {manifest.root}": manifest.root.rstrip("/") != WORKSPACE,
        "it has mounts, and files come by the SDK or are downloaded": bool(manifest.mount_targets()),
        "it grants paths outside": bool(manifest.extra_path_grants),
        "it has users or groups, and there is one user, root": bool(manifest.users or manifest.groups),
    }
    for wish, is_made in wishes.items():
        if is_made:
            raise ConfigurationError(
                message=f"This manifest does not fit a podflare sandbox, whose files are all in {WORKSPACE}: {wish}.",
                error_code=ErrorCode.SANDBOX_CONFIG_INVALID,
                op="start",
                context={"backend": TYPE},
                retryable=False,
            )
