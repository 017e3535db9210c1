"""The .ipynb beside the journal: what the journal says, folded to its end, written whole or not at all.

A projection reads only what the journal has gained since it looked last. It never writes to the journal. When
no writer is left (the sandbox closed, the server was killed), what has no end is shown as ended. Its methods
may block for the time of some file reads and are called in worker threads; a lock makes them one at a time.
``rendering``, ``notebook`` and ``journal`` are below, ``transcript`` above.
"""

from __future__ import annotations

import logging
import secrets
import threading
from pathlib import Path
from typing import Any

from .header import TranscriptHeader
from .journal import is_being_written, read_records
from .notebook import Notebook
from .rendering import Rendering
from .turns import Turn

log = logging.getLogger(__name__)

JOURNAL = "journal.jsonl"
NOTEBOOK = "notebook.ipynb"


class Projection:
    """The notebook of one journal in ``directory``. ``live`` while this process writes the journal."""

    def __init__(self, directory: Path, header: TranscriptHeader, *, live: bool) -> None:
        self.live = live
        self._directory = directory
        self._header = header
        self._lock = threading.Lock()
        self._written = -1
        self._reset()

    def __repr__(self) -> str:
        return f"<Projection {self._directory.name}, {self._offset} bytes folded>"

    def ipynb(self) -> bytes:
        """Give the .ipynb as it is now; the file is brought up to date, too."""
        with self._lock:
            self._fold()
            data = self._rendering.render(self._notebook)
            self._write(data)
            return data

    def node(self) -> dict[str, Any]:
        """Give the notebook as plain JSON."""
        with self._lock:
            self._fold()
            return self._notebook.node()

    def turns(self) -> list[Turn]:
        """Give all turns, oldest first."""
        with self._lock:
            self._fold()
            return list(self._notebook.turns.values())

    def has_running(self) -> bool:
        """Whether the journal, as it was written, has a turn or a cell without an end."""
        with self._lock:
            self._reset()
            self._fold_records()
            running = self._notebook.is_running
            self._reset()
            return running

    def forget(self) -> None:
        """Give the memory back; the next look folds the journal from its beginning."""
        with self._lock:
            self._reset()

    def _reset(self) -> None:
        self._notebook = Notebook(self._header)
        self._rendering = Rendering()
        self._offset = 0
        self._last_at = 0.0
        self._ended = False
        self._ended_size = 0

    def _fold(self) -> None:
        """Fold what is new; without a writer, end what is running and tell of a torn last line."""
        if self.live:
            if self._ended:
                self._reset()
            self._fold_records()
            return
        path = self._directory / JOURNAL
        written_elsewhere = is_being_written(path)
        if self._ended and (written_elsewhere or self._size() != self._ended_size):
            self._reset()
        if self._ended:
            return
        self._fold_records()
        if not written_elsewhere:
            self._end()

    def _fold_records(self) -> None:
        try:
            for record, offset in read_records(self._directory / JOURNAL, self._offset):
                self._notebook.apply(record)
                self._offset = offset
                if record is not None and isinstance(record.get("at"), float):
                    self._last_at = record["at"]
        except FileNotFoundError:
            return  # nothing was ever recorded, or it was deleted: an empty notebook

    def _end(self) -> None:
        self._ended, self._ended_size = True, self._size()
        if torn := self._ended_size - self._offset:
            self._notebook.apply({"t": "torn", "bytes": torn})
        if self._notebook.is_running:
            self._notebook.apply({"t": "recovered", "at": self._last_at})

    def _size(self) -> int:
        try:
            return (self._directory / JOURNAL).stat().st_size
        except FileNotFoundError:
            return 0

    def _write(self, data: bytes) -> None:
        """Replace the file, unless it is this already or another process keeps it."""
        may_write = self.live or self._ended
        if not may_write or self._written == self._notebook.version:
            return
        temporary = self._directory / f".{NOTEBOOK}.{secrets.token_hex(4)}"
        try:
            temporary.write_bytes(data)
            temporary.replace(self._directory / NOTEBOOK)
        except OSError as error:
            # The journal has it all; whoever reads the notebook through the service gets it from there.
            log.warning("The notebook of %s could not be written: %s", self._directory.name, error)
            temporary.unlink(missing_ok=True)
            return
        self._written = self._notebook.version
