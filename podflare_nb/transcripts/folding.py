"""A journal folded into a notebook, as far as it has been read, and further when there is more.

Reads only what the journal has gained, but for a rewind: what that takes back is left out by folding again.
A branch begins with its parent's notebook, which neither changes any more before it has made a copy.
``rewinding``, ``notebook`` and ``segments`` are below; ``projection`` stands above and sees to threads.
"""

from __future__ import annotations

from pathlib import Path

from .cells import Record
from .header import TranscriptHeader
from .notebook import Notebook
from .rewinding import way_taken
from .segments import Reader


class Folding:
    """The notebook of the journal in ``directory`` up to ``offset``."""

    def __init__(self, directory: Path, header: TranscriptHeader) -> None:
        self.notebook = Notebook(header)
        self.offset = 0
        self._directory = directory
        self._header = header
        self._is_shared = False
        self._last_at = 0.0

    def __repr__(self) -> str:
        return f"<Folding of {self._directory.name}, {self.offset} bytes>"

    def go_on(self) -> None:
        """Fold what the journal has gained."""
        with Reader(self._directory) as journal:
            for record, begin, end in journal.records(self.offset):
                if record is not None and record["t"] == "rewind":
                    self._fold_again(journal)
                    return
                self._apply(record, begin, end)

    def end(self, size: int) -> None:
        """Say what the end of the service means for a journal of this size, which nobody writes any more."""
        self._make_own()
        if torn := size - self.offset:
            self.notebook.apply({"t": "torn", "bytes": torn}, (size + 1, size + 1))
        if self.notebook.is_running:
            self.notebook.apply({"t": "recovered", "at": self._last_at}, (size + 2, size + 2))

    def begin_with(self, parent: Folding) -> None:
        """Begin where another is: the journals are the same up to there, so that places in them are, too."""
        self.notebook, self.offset, self._last_at = parent.notebook, parent.offset, parent._last_at
        self._is_shared = parent._is_shared = True

    def _fold_again(self, journal: Reader) -> None:
        """Fold the way that was taken, from the beginning."""
        self.notebook, self._is_shared = Notebook(self._header), False
        way, _ = way_taken(journal)
        for part in way:
            for record, begin, end in journal.records(*part):
                self._apply(record, begin, end)

    def _apply(self, record: Record | None, begin: int, end: int) -> None:
        self._make_own()
        self.notebook.apply(record, (begin, end))
        self.offset = end
        if record is not None and isinstance(record.get("at"), float):
            self._last_at = record["at"]

    def _make_own(self) -> None:
        if self._is_shared:
            self.notebook, self._is_shared = self.notebook.clone(self._header), False
