"""A podflare sandbox as a session of the Agents SDK: commands, files, and the workspace as a tar archive.

Each command is a bash cell of the sandbox's notebook; files go past the notebook. Not Python code: an agent that
wants the notebook's Python as well is given ``podflare_code_interpreter`` with this sandbox. ``client`` makes and
resumes sessions.
"""

from __future__ import annotations

import io
import shlex
from contextvars import ContextVar
from typing import TYPE_CHECKING

from agents.sandbox import (
    ErrorCode,
    ExecResult,
    ExecTimeoutError,
    ExecTransportError,
    ExposedPortUnavailableError,
    WorkspaceArchiveReadError,
    WorkspaceArchiveWriteError,
    WorkspaceReadNotFoundError,
    WorkspaceWriteTypeError,
)
from agents.sandbox.errors import ConfigurationError
from agents.sandbox.session.base_sandbox_session import BaseSandboxSession

from podflare_nb.client import NotFoundError, PodflareError

from ..code_tool import Provenance
from .archives import pack, unpack
from .asking import OPERATOR
from .state import WORKSPACE

if TYPE_CHECKING:
    from pathlib import Path

    from agents.sandbox import User

    from podflare_nb.client import AsyncClient, AsyncSandbox

    from .state import PodflareSandboxSessionState

_NO_ADDRESS = (
    "A port in a podflare sandbox has no address of its own: the service shows it to whoever has its key, and by links "
    "that expire."
)
_PASSING = frozenset({"quota_exceeded", "no_capacity", "conflict", "unreachable"})
"""Codes of refusals after which the same call may succeed: nothing was done."""

_SHORTEST_SECONDS = 0.001
_LONGEST_SECONDS = 86_400.0

asking: ContextVar[Provenance | None] = ContextVar("podflare_nb_asking", default=None)
"""Who asks for the commands of this context; ``shell`` sets it for the length of a tool call."""


class PodflareSandboxSession(BaseSandboxSession):
    """A session whose commands and files are those of one sandbox. Made by PodflareSandboxClient.

    ``environment``: the manifest's variables that the sandbox was made with.
    """

    state: PodflareSandboxSessionState

    def __init__(
        self,
        state: PodflareSandboxSessionState,
        sandbox: AsyncSandbox,
        connections: AsyncClient,
        environment: dict[str, str],
    ) -> None:
        self.state = state
        self.sandbox = sandbox
        self._connections = connections
        self._environment = environment
        self._shut_down = False

    async def running(self) -> bool:
        """Whether the session was not shut down, and its sandbox lives and can be reached."""
        if self._shut_down:
            return False
        try:
            return (await self.sandbox.info()).state != "closed"
        except PodflareError:
            return False

    async def read(self, path: Path, *, user: str | User | None = None) -> io.IOBase:
        """Give a file of the workspace; raises WorkspaceReadNotFoundError where there is none."""
        _one_user(user)
        try:
            return io.BytesIO(await self.sandbox.files.read(_relative(self.normalize_path(path))))
        except NotFoundError as error:
            raise WorkspaceReadNotFoundError(path=path, context=_context(error), cause=error) from error
        except PodflareError as error:
            raise WorkspaceArchiveReadError(
                path=path, context=_context(error), cause=error, retryable=error.code in _PASSING
            ) from error

    async def write(self, path: Path, data: io.IOBase, *, user: str | User | None = None) -> None:
        """Write a file of the workspace, with the directories above it, whole or not at all."""
        _one_user(user)
        relative = _relative(self.normalize_path(path, for_write=True))
        payload = data.read()
        if not isinstance(payload, str | bytes | bytearray):
            raise WorkspaceWriteTypeError(path=path, actual_type=type(payload).__name__)
        try:
            await self.sandbox.files.write(relative, payload if isinstance(payload, str) else bytes(payload))
        except PodflareError as error:
            raise WorkspaceArchiveWriteError(
                path=path,
                context=_context(error),
                cause=error,
                message=f"{path} was not written: {error.message}",
                retryable=error.code in _PASSING,
            ) from error

    async def persist_workspace(self) -> io.IOBase:
        """Give the workspace as a tar archive, without what the manifest calls ephemeral."""
        return await pack(self, self._persist_workspace_skip_relpaths())

    async def hydrate_workspace(self, data: io.IOBase) -> None:
        """Unpack a tar archive into the workspace, over what is there; raises for members that would leave it."""
        await unpack(self, data)

    async def mkdir(self, path: Path | str, *, parents: bool = False, user: str | User | None = None) -> None:
        """Make a directory. The workspace itself is always there."""
        if self.normalize_path(path, for_write=True) != self._workspace_root_path():
            await super().mkdir(path, parents=parents, user=user)

    async def _exec_internal(
        self,
        *command: str | Path,
        timeout: float | None = None,  # noqa: ASYNC109 - the SDK's signature; the service keeps it
    ) -> ExecResult:
        by = asking.get() or Provenance(operator=OPERATOR)
        seconds = None if timeout is None else min(max(timeout, _SHORTEST_SECONDS), _LONGEST_SECONDS)
        try:
            result = await self.sandbox.run_code(
                await self._cell(command),
                "bash",
                timeout_seconds=seconds,
                turn_id=by.turn_id,
                tool_call_id=by.tool_call_id,
                operator=by.operator,
                model=by.model,
            )
        except PodflareError as error:
            raise ExecTransportError(
                command=command,
                context=_context(error),
                cause=error,
                message=error.message,
                retryable=error.code in _PASSING,
            ) from error
        if result.status == "timeout":
            raise ExecTimeoutError(command=command, timeout_s=timeout)
        told = [result.stderr, *(notice.message for notice in result.notices), result.message or ""]
        stderr = "\n".join(part for part in told if part)
        return ExecResult(
            stdout=result.stdout.encode(errors="replace"),
            stderr=stderr.encode(errors="replace"),
            exit_code=result.exit_code,
        )

    async def _cell(self, command: tuple[str | Path, ...]) -> str:
        """Give the bash cell of a command: in the workspace, wherever the notebook's Python has gone to."""
        now = await self.state.manifest.environment.resolve()
        # What the sandbox was made with is there already, and need not stand in the notebook.
        changed = [f"{name}={value}" for name, value in now.items() if self._environment.get(name) != value]
        words = [*(["env", "--", *changed] if changed else []), *(str(word) for word in command)]
        return f"cd {shlex.quote(self.state.manifest.root)} || exit\n{shlex.join(words)}"

    def _prepare_exec_command(
        self, *command: str | Path, shell: bool | list[str], user: str | User | None
    ) -> list[str]:
        _one_user(user)
        return super()._prepare_exec_command(*command, shell=shell, user=None)

    def _assert_exposed_port_configured(self, port: int) -> None:
        raise ExposedPortUnavailableError(
            port=port,
            exposed_ports=(),
            reason="not_supported",
            context={"backend": "podflare", "detail": _NO_ADDRESS},
            retryable=False,
        )

    async def _probe_workspace_root_for_preserved_resume(self) -> bool:
        if self._workspace_state_preserved_on_start():
            # Every sandbox has its workspace.
            self._mark_workspace_root_ready_from_probe()
        return self._can_reuse_preserved_workspace_on_resume()

    def _should_compute_snapshot_fingerprint_on_persist(self) -> bool:
        # It would save a restore when a live sandbox is resumed, for a script in the notebook at every stop.
        return False

    async def _shutdown_backend(self) -> None:
        self._shut_down = True
        try:
            if not self.state.options.keep_open:
                await self.sandbox.close()
        finally:
            await self._connections.close()


def _one_user(user: str | User | None) -> None:
    if user is not None:
        raise ConfigurationError(
            message="A podflare sandbox has one user, root of its own jail: leave `run_as` and `user` out.",
            error_code=ErrorCode.SANDBOX_CONFIG_INVALID,
            op="exec",
            context={"backend": "podflare"},
            retryable=False,
        )


def _relative(path: Path) -> str:
    """Name a file of the workspace as the API does."""
    return path.relative_to(WORKSPACE).as_posix()


def _context(error: PodflareError) -> dict[str, object]:
    return {"backend": "podflare", "reason": error.code, "provider_error": error.message, "http_status": error.status}
