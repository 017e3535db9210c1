"""The notebook of a journal: what the journal says, folded to its end, and the .ipynb made from that.

A projection never writes to the journal. When no writer is left (the sandbox closed, the server was killed),
what has no end is shown as ended. Its methods may block for the time of some file reads and are called in worker
threads; one lock is held while folding, another while the file is written, and none while somebody reads.
``folding`` and ``ipynb_file`` are below, ``reading`` and ``transcript`` above.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from .folding import Folding
from .header import TranscriptHeader
from .ipynb_file import PIECE, IpynbFile, in_pieces
from .journal import is_being_written
from .notebook import Edition, KnownTurn
from .segments import Reader, size_of


class Projection:
    """The notebook of the journal in ``directory``. ``live`` while this process writes the journal."""

    def __init__(self, directory: Path, header: TranscriptHeader, *, live: bool) -> None:
        self.live = live
        self.directory = directory
        self._header = header
        self._lock = threading.Lock()
        self._printing = threading.Lock()
        self._file = IpynbFile(directory)
        self._generation = object()
        """What the versions of cells hold for: another one when the journal may say other things at its places."""
        self._folding = Folding(directory, header)
        self._ended_size: int | None = None
        """The size of a journal that was folded to its end, because nobody writes it any more."""

    def __repr__(self) -> str:
        return f"<Projection {self.directory.name}, {self._folding.offset} bytes folded>"

    def edition(self) -> Edition:
        """Give the notebook as it is now."""
        return self._now()[0]

    def turns(self) -> list[KnownTurn]:
        """Give all turns, oldest first."""
        with self._lock:
            self._fold()
            return list(self._folding.notebook.turns.values())

    def update_file(self) -> None:
        """Bring the .ipynb up to date."""
        with closing(self.ipynb()) as pieces:
            next(pieces)  # comes when the file is written

    def ipynb(self) -> Generator[bytes]:
        """Give the .ipynb as it is now, in pieces; the file is brought up to date first.

        Close the iterator: it holds a descriptor.
        """
        with self._printing:
            edition, generation, may_write = self._now()
            with Reader(self.directory) as journal:
                file = self._file.bring_up_to_date(edition, journal, generation) if may_write else None
        if file is None:
            with Reader(self.directory) as journal:
                yield from in_pieces(edition, journal)
            return
        with file:
            file.seek(0)
            while piece := file.read(PIECE):
                yield piece

    def has_running(self) -> bool:
        """Whether the journal, as it was written, has a turn or a cell without an end."""
        with self._lock:
            self._reset()
            self._folding.go_on()
            running = self._folding.notebook.is_running
            self._reset()
            return running

    def forget(self) -> None:
        """Give the memory back; the next look folds the journal from its beginning."""
        with self._lock:
            if self.live:
                self._folding = Folding(self.directory, self._header)
                return
            self._reset()
            self._file.drop_inheritance()

    def inherit(self, parent: Projection) -> None:
        """Begin where the parent's is, if nobody folds it at this moment; else the journal is read again.

        Nothing is copied before one of the two has something new.
        """
        if not parent._lock.acquire(blocking=False):
            return
        try:
            if parent.live and parent._ended_size is None:
                self._folding.begin_with(parent._folding)
                self._generation = parent._generation
                self._file.inherit(parent._file)
        finally:
            parent._lock.release()

    def _now(self) -> tuple[Edition, object, bool]:
        """Give the notebook, what its versions hold for, and whether the file is this process's to write."""
        with self._lock:
            self._fold()
            may_write = self.live or self._ended_size is not None
            return self._folding.notebook.edition(), self._generation, may_write

    def _reset(self) -> None:
        """Begin again with a journal that may say other things at the same places."""
        self._generation = object()
        self._folding = Folding(self.directory, self._header)
        self._ended_size = None

    def _fold(self) -> None:
        """Fold what is new; without a writer, end what is running and tell of a torn last line."""
        if self.live:
            if self._ended_size is not None:
                self._reset()
            self._folding.go_on()
            return
        written_elsewhere = is_being_written(self.directory)
        if self._ended_size is not None and (written_elsewhere or size_of(self.directory) != self._ended_size):
            self._reset()
        if self._ended_size is not None:
            return
        self._folding.go_on()
        if not written_elsewhere:
            self._ended_size = size_of(self.directory)
            self._folding.end(self._ended_size)
