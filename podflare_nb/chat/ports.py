"""What a turn needs of the sandbox it works in and of the transcript that records it, and no more.

``sandboxes`` and ``transcripts`` have the real ones; a test may have its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..protocol.egress import Egress
from ..protocol.provenance import Model
from ..protocol.states import CellRole, TurnStatus
from ..sandboxes.execution import Execution, ExecutionRequest
from ..transcripts.turns import Turn as RecordedTurn


class FileEntry(Protocol):
    """One entry of a directory."""

    @property
    def name(self) -> str:
        """Its name, without the directory."""
        ...

    @property
    def type(self) -> str:
        """``file``, ``directory``, ``symlink`` or ``other``."""
        ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...


class Workspace(Protocol):
    """The sandbox's files, as the agent's reading tools need them. Paths are relative to the workspace.

    Both raise NotFoundError, InvalidArgumentError and the like, with a sentence that the model is given.
    """

    async def read_head(self, path: str, max_bytes: int) -> tuple[bytes, int]:
        """The first bytes of a file, and its size."""
        ...

    async def entries(self, path: str) -> Sequence[FileEntry]:
        """What a directory holds, by name."""
        ...


class Sandbox(Protocol):
    """A live sandbox: it queues or refuses runs by itself, and tells its observers of each."""

    @property
    def id(self) -> str:
        """``sbx_<hex>``."""
        ...

    @property
    def tenant_id(self) -> str:
        """Whose it is."""
        ...

    @property
    def files(self) -> Workspace:
        """The workspace."""
        ...

    @property
    def egress(self) -> Egress:
        """What it may reach."""
        ...

    async def execute(self, request: ExecutionRequest) -> Execution:
        """Start a run. Raises GoneError or ConflictError when the sandbox cannot run it."""
        ...

    def turn_ended(self, turn_id: str) -> None:
        """A turn is over: a sandbox that keeps checkpoints keeps the state of now, before anything else is run."""
        ...


class ForkOutcome(Protocol):
    """What a fork made. Both lists hold sentences; ``failures`` one for each child that could not be made."""

    @property
    def children(self) -> Sequence[Sandbox]:
        """The branches, live."""
        ...

    @property
    def warnings(self) -> Sequence[str]:
        """What could not come along: threads, child processes, sockets."""
        ...

    @property
    def failures(self) -> Sequence[str]:
        """Why there are fewer children than were asked for."""
        ...


class Branches(Protocol):
    """Forks of live sandboxes. All raise errors of ``errors`` with a sentence that the model is given."""

    async def fork(
        self, tenant_id: str, sandbox_id: str, n: int, *, wait_seconds: float = 30.0, strict: bool = False
    ) -> ForkOutcome:
        """Fork a sandbox with its memory, files and notebook; waits for code that runs, no longer than that."""
        ...

    async def merge(self, tenant_id: str, parent_id: str, winner_id: str) -> None:
        """Make the parent's id the winner's state; the winner is over, its notebook's cells come into the parent's."""
        ...

    async def diff(self, tenant_id: str, sandbox_id: str, other_id: str) -> Mapping[str, Any]:
        """Files, variables and cells that differ; what the other has and the first has not is "added"."""
        ...


@dataclass(frozen=True, slots=True)
class Branching:
    """What a turn needs to fork: ``close`` ends a sandbox of a tenant (by their ids) and returns when it is gone."""

    branches: Branches
    close: Callable[[str, str], Awaitable[None]]


class Transcript(Protocol):
    """The notebook's writer. Code cells reach it through the sandbox's observer, not through here."""

    def new_cell_id(self) -> str:
        """An id for a cell that is not there yet."""
        ...

    def begin_turn(  # noqa: PLR0913  # mirrors transcripts.Transcript
        self,
        turn_id: str,
        message: str,
        *,
        principal: str | None = None,
        operator: str | None = None,
        model: Model | None = None,
        cell_id: str | None = None,
    ) -> str:
        """Begin a turn: the message becomes a markdown cell of role user, whose id is returned."""
        ...

    def add_markdown(  # noqa: PLR0913  # mirrors transcripts.Transcript
        self,
        turn_id: str | None,
        role: CellRole,
        text: str = "",
        *,
        principal: str | None = None,
        operator: str | None = None,
        model: Model | None = None,
        cell_id: str | None = None,
    ) -> str:
        """Add a markdown cell at the end and return its id."""
        ...

    def append_markdown(self, cell_id: str, text: str) -> None:
        """Append to a markdown cell."""
        ...

    def end_turn(
        self,
        turn_id: str,
        status: TurnStatus,
        *,
        usage: Mapping[str, Any] | None = None,
        error: str | None = None,
    ) -> None:
        """End a turn; unless it is ok, the notebook gets a line that says why."""
        ...

    async def turns(self) -> list[RecordedTurn]:
        """All turns, oldest first."""
        ...

    async def notebook(self) -> dict[str, Any]:
        """The notebook now, as nbformat JSON."""
        ...
