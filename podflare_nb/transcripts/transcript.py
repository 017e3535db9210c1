"""The transcript of one sandbox: records go in, the notebook comes out.

Recording is synchronous and happens on the event loop, an append to the journal each (``journal`` tells what
that guarantees). The .ipynb beside it follows within a second in a worker thread, and at once when somebody
reads.
``chat`` and ``recorder`` stand above; ``store`` makes transcripts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..protocol.provenance import Model
from ..protocol.states import CellRole, TurnStatus
from .header import TranscriptHeader
from .journal import Journal
from .notebook import shortened
from .projection import JOURNAL, Projection
from .turns import Turn
from .upkeep import Upkeep

TITLE_LENGTH = 80

_OPENS = {"start": "cell", "turn": "turn_id"}
_ENDS = {"end": "cell", "turn-end": "turn_id"}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What transcripts of a store share. ``clock`` in seconds since the epoch; ``worker`` is one thread."""

    clock: Callable[[], float]
    new_cell_id: Callable[[], str]
    worker: Executor
    on_end: Callable[[], object]


class Transcript:
    """One writer: the server process that holds the sandbox. Methods are called on the event loop.

    Recording never raises for what a disk or a kernel does. Recording into a transcript that was opened from
    disk takes it up again: what a killed server left running is recorded as ended first. That may raise
    OSError, and ConflictError if another process writes it.
    """

    def __init__(self, directory: Path, header: TranscriptHeader, *, live: bool, surroundings: Surroundings) -> None:
        self.header = header
        self.title: str | None = None
        """The first message of a user, shortened; for lists of sandboxes."""
        self.clock = surroundings.clock
        self.new_cell_id = surroundings.new_cell_id
        self._journal = Journal(directory / JOURNAL)
        self._projection = Projection(directory, header, live=live)
        self._running: set[str] = set()
        self._upkeep = Upkeep(self._journal, self._projection, surroundings.worker, is_idle=lambda: not self._running)
        self._on_end = surroundings.on_end
        self._finishing: Future[None] | None = None

    def __repr__(self) -> str:
        state = "live" if self._projection.live else "at rest"
        return f"<Transcript {self.header.sandbox_id} {state}, {len(self._running)} running>"

    def record(self, record: Mapping[str, Any]) -> bool:
        """Append one record to the journal; False if it was lost, which the notebook will tell."""
        if not self._projection.live and self._finishing is None:
            self._take_up()
        recorded = self._journal.append(record)
        kind = record["t"]
        if kind in _OPENS:
            self._running.add(record[_OPENS[kind]])
        elif kind in _ENDS:
            self._running.discard(record[_ENDS[kind]])
        if self._finishing is None:
            self._upkeep.changed()
        else:
            self._journal.release()  # a late word after the end; readers find it in the journal
        return recorded

    def begin_turn(  # noqa: PLR0913  # who did it, all by keyword
        self,
        turn_id: str,
        message: str,
        *,
        principal: str | None = None,
        operator: str | None = None,
        model: Model | None = None,
        cell_id: str | None = None,
    ) -> str:
        """Begin a turn; the message becomes a markdown cell of role user, whose id is returned."""
        cell_id = cell_id or self.new_cell_id()
        by = _stamp("user", turn_id, principal, operator, model)
        self.title = self.title or title_of(message)
        self.record({"t": "turn", "at": self.clock(), "turn_id": turn_id, "cell": cell_id, "text": message, "by": by})
        return cell_id

    def add_markdown(  # noqa: PLR0913  # who did it, all by keyword
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
        """Add a markdown cell at the end; returns its id. Also for messages of agents that run elsewhere."""
        cell_id = cell_id or self.new_cell_id()
        by = _stamp(role, turn_id, principal, operator, model)
        if role == "user":
            self.title = self.title or title_of(text)
        self.record({"t": "markdown", "at": self.clock(), "cell": cell_id, "text": text, "by": by})
        return cell_id

    def append_markdown(self, cell_id: str, text: str) -> None:
        """Append to a markdown cell."""
        self.record({"t": "text", "cell": cell_id, "text": text})

    def end_turn(
        self,
        turn_id: str,
        status: TurnStatus,
        *,
        usage: Mapping[str, Any] | None = None,
        error: str | None = None,
    ) -> None:
        """End a turn. Unless it went well, the notebook gets a line that says why (``error``, a sentence)."""
        self.record(
            {
                "t": "turn-end",
                "at": self.clock(),
                "turn_id": turn_id,
                "status": status,
                "usage": None if usage is None else dict(usage),
                "error": error,
            }
        )
        if self._finishing is None:
            self._upkeep.sync()

    async def turns(self) -> list[Turn]:
        """List all turns, oldest first."""
        return await asyncio.to_thread(self._projection.turns)

    async def notebook(self) -> dict[str, Any]:
        """Give the notebook now, as plain JSON of nbformat 4.5."""
        return await asyncio.to_thread(self._projection.node)

    async def ipynb(self) -> bytes:
        """Give the notebook now, as the bytes of its .ipynb; the file is brought up to date, too."""
        return await asyncio.to_thread(self._projection.ipynb)

    def end(self, reason: str | None = None, message: str | None = None) -> None:
        """Record why the sandbox is over and let go of the journal; the rest is done in the worker thread.

        Idempotent. The notebook can still be read.
        """
        if self._finishing is not None:
            return
        self.record({"t": "closed", "at": self.clock(), "reason": reason, "message": message})
        self._running.clear()
        self._finishing = self._upkeep.finish()
        self._projection.live = False
        self._on_end()

    async def close(self, reason: str | None = None, message: str | None = None) -> None:
        """End the transcript, and wait until it and its .ipynb are durable. Idempotent."""
        self.end(reason, message)
        if self._finishing is not None:
            await asyncio.wrap_future(self._finishing)

    def abandon(self) -> None:
        """Let go of files and timers without a word in the journal (its directory is going away)."""
        self._upkeep.stop()
        self._journal.release()

    def _take_up(self) -> None:
        """Become the writer of a transcript from disk."""
        torn = self._journal.open()
        self._projection.live = True
        if torn:
            self._journal.append({"t": "torn", "bytes": torn})
        if self._projection.has_running():
            self._journal.append({"t": "recovered", "at": self.clock()})


def title_of(message: str) -> str | None:
    """Make the one line that names a sandbox in a list."""
    return shortened(" ".join(message.split()), TITLE_LENGTH) or None


def _stamp(
    role: str, turn_id: str | None, principal: str | None, operator: str | None, model: Model | None
) -> dict[str, Any]:
    values = {
        "role": role,
        "turn_id": turn_id,
        "principal": principal,
        "operator": operator,
        "model": None if model is None else model.model_dump(),
    }
    return {key: value for key, value in values.items() if value is not None}
