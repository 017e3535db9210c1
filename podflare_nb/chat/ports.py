"""What a turn needs of the sandbox it works in and of the transcript that records it, and no more.

``sandboxes`` and ``transcripts`` have the real ones; a test may have its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

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
    def files(self) -> Workspace:
        """The workspace."""
        ...

    @property
    def egress(self) -> bool:
        """Whether it has a network."""
        ...

    async def execute(self, request: ExecutionRequest) -> Execution:
        """Start a run. Raises GoneError or ConflictError when the sandbox cannot run it."""
        ...


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
