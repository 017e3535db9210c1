"""The transcript of one sandbox: records go in, the notebook comes out.

Recording is synchronous and happens on the event loop, an append to the journal each (``journal`` tells what
that guarantees). The .ipynb beside it follows within a second in a worker thread, and at once when somebody
reads (``reading``). A branch's transcript has its parent's journal up to the fork as its own (``store.fork``).
``chat`` and ``recorder`` stand above; ``store`` makes transcripts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConflictError, NotFoundError
from ..protocol.provenance import Model
from ..protocol.states import CellRole, TurnStatus
from .header import TranscriptHeader
from .journal import Journal
from .notebook import shortened
from .position import Ancestor, Position, parting
from .projection import Projection
from .reading import Readable
from .rewinding import shown_apart
from .segments import Reader, parse
from .upkeep import Upkeep

TITLE_LENGTH = 80

_OPENS = {"start": "cell", "turn": "turn_id"}
_ENDS = {"end": "cell", "turn-end": "turn_id"}
_FENCE = ("```", "~~~")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What transcripts of a store share.

    ``clock`` in seconds since the epoch; ``worker`` is one thread; ``budget`` is how many bytes a journal may
    have until outputs are told of instead of recorded.
    """

    clock: Callable[[], float]
    new_cell_id: Callable[[], str]
    worker: Executor
    budget: int
    on_end: Callable[[], object]


class Transcript(Readable):
    """One writer: the server process that holds the sandbox. Methods are called on the event loop.

    Recording never raises for what a disk or a kernel does. Recording into a transcript that was opened from
    disk takes it up again: what a killed server left running is recorded as ended first. That may raise
    OSError, and ConflictError if another process writes it.
    ``lineage`` names the sandboxes whose records the journal holds, this one last.
    """

    def __init__(
        self,
        directory: Path,
        header: TranscriptHeader,
        lineage: Sequence[Ancestor],
        *,
        live: bool,
        surroundings: Surroundings,
    ) -> None:
        super().__init__(Projection(directory, header, live=live))
        self.header = header
        self.lineage = tuple(lineage)
        self.title: str | None = None
        """The first message of a user, shortened; for lists of sandboxes."""
        self.clock = surroundings.clock
        self.new_cell_id = surroundings.new_cell_id
        self.journal = Journal(directory)
        self.budget = surroundings.budget
        self._position = Position(None if live else directory)
        self._running: set[str] = set()
        self._upkeep = Upkeep(self.journal, self._projection, surroundings.worker, is_idle=lambda: not self._running)
        self._on_end = surroundings.on_end
        self._finishing: Future[None] | None = None

    def __repr__(self) -> str:
        state = "live" if self._projection.live else "at rest"
        return f"<Transcript {self.header.sandbox_id} {state}, {len(self._running)} running>"

    def record(self, record: Mapping[str, Any]) -> bool:
        """Append one record to the journal; False if it was lost, which the notebook will tell."""
        if not self._projection.live and self._finishing is None:
            self._take_up()
        recorded = self.journal.append(record)
        self._position.record(record)
        kind = record["t"]
        if kind in _OPENS:
            self._running.add(record[_OPENS[kind]])
        elif kind in _ENDS:
            self._running.discard(record[_ENDS[kind]])
        if self._finishing is None:
            self._upkeep.changed()
        else:
            self.journal.release()  # a late word after the end; readers find it in the journal
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

    def position(self) -> tuple[str | None, int]:
        """Give the last turn that ended (None before the first), and how many cells there are now."""
        return next(reversed(self._position.turns), None), self._position.cells

    def merge(self, winner: Transcript, *, losers: Sequence[str]) -> None:
        """Append what ``winner`` has since it parted from this, with its provenance on each cell.

        The winner is of the same family: a branch of this, one of a branch's branches, a sibling or an ancestor.
        It may be live (end it afterwards) or ended. ``losers`` are sandbox ids, for the notebook to name. Large
        outputs are not copied and work grows with the number of segments, unless one of the two was rewound to
        before they parted. Raises ConflictError for itself and for
        a stranger.
        """
        if winner.lineage == self.lineage or winner.lineage[0] != self.lineage[0]:
            raise ConflictError(f"{winner.header.sandbox_id} is no branch of the family of {self.header.sandbox_id}.")
        parted, own = parting(winner.lineage, self.lineage)
        before = self._position.copy()
        common = parted.cells
        went_back = any(each.went_back(parted.begin, parted.cells) for each in (before, winner._position))
        if went_back:  # what either showed where they parted counts no more, so that nothing can be adopted as it is
            common = winner._position.cells - self._apart(winner, parted.begin).cells
            own = [ancestor.sandbox_id for ancestor in winner.lineage]
        told = {"winner": winner.header.sandbox_id, "of": own, "losers": list(losers), "at": self.clock()}
        live = before.live_in(winner._position, common)
        self.record({"t": "merge", **told, "superseded": before.first_after(common), "live": live})
        self._upkeep.sync()  # what is shared now is not written any more
        winner._upkeep.sync()
        if went_back:
            self._repeat(winner, parted.begin)
        else:
            self.journal.adopt(winner.journal, parted.begin)
        before.merge(winner._position, common, again=went_back)
        self._position = before
        self.record({"t": "merged", **told})
        self._upkeep.sync()

    def rewind(self, turn_id: str, *, branch: str) -> None:
        """Take back everything after a turn; ``branch`` is the sandbox whose notebook keeps it (fork it before).

        The journal keeps it, too; the notebook does not show it any more, and says so in its metadata. Raises
        NotFoundError for a turn that has not ended here, or was taken back.
        """
        if turn_id not in self._position.turns:
            known = ", ".join(list(self._position.turns)[-10:]) or "none"
            raise NotFoundError(f"There is no turn {turn_id!r} to go back to; turns that have ended here: {known}.")
        sandbox_id = self.header.sandbox_id
        told = {"turn_id": turn_id, "branch": branch, "sandbox_id": sandbox_id, "at": self.clock()}
        at = self.journal.end
        self.record({"t": "rewind", **told})
        self._position.rewind(turn_id, at)
        self._running.clear()
        self._upkeep.sync()

    def inherit(self, parent: Transcript) -> None:
        """For the store: begin where the parent is, with a journal that is the same up to here."""
        self.title = parent.title
        self._position = parent._position.copy()
        self.journal.lost = parent.journal.lost
        self._projection.inherit(parent._projection)
        self._upkeep.inherited()

    def end(self, reason: str | None = None, message: str | None = None) -> None:
        """Record why the sandbox is over and let go of the journal; the rest is done in the worker thread.

        Idempotent. The notebook can still be read.
        """
        if self._finishing is not None:
            return
        is_a_copy = len(self.lineage) > 1 and self._position.cells == self.lineage[-1].cells
        self.record({"t": "closed", "at": self.clock(), "reason": reason, "message": message})
        self._running.clear()
        # A branch that did nothing needs no file with all that its parent's has; whoever reads it has one made.
        self._finishing = self._upkeep.finish(write_file=not is_a_copy)
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
        self.journal.release()

    def _apart(self, winner: Transcript, parted: int) -> Position:
        """Count what the winner shows and this does not, or not any more."""
        counted = Position()
        with Reader(self.journal.directory) as mine, Reader(winner.journal.directory) as its:
            for line in shown_apart(mine, its, parted):
                if (record := parse(line)) is not None:
                    counted.record(record)
        return counted

    def _repeat(self, winner: Transcript, parted: int) -> None:
        """Record that again."""
        with Reader(self.journal.directory) as mine, Reader(winner.journal.directory) as its:
            self.journal.repeat(shown_apart(mine, its, parted))

    def _take_up(self) -> None:
        """Become the writer of a transcript from disk."""
        torn = self.journal.open()
        self._projection.live = True
        if torn:
            self.journal.append({"t": "torn", "bytes": torn})
        if self._projection.has_running():
            self.journal.append({"t": "recovered", "at": self.clock()})


def title_of(message: str) -> str | None:
    """Make the one line that names a sandbox in a list; the fences of code in a message are left out."""
    lines = [line for line in message.splitlines() if not line.lstrip().startswith(_FENCE)]
    return shortened(" ".join(" ".join(lines).split()), TITLE_LENGTH) or None


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
