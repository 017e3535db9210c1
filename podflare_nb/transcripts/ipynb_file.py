"""The .ipynb beside a journal: written whole or not at all, and cheap to write again when little has changed.

Of what was written last it is known where each cell stands, 16 bytes a cell; cells that have not changed since
are copied from the old file to the new one by the kernel, without passing through this process. ``rendering``
is below, ``projection`` above.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from io import FileIO
from pathlib import Path

from .notebook import Edition
from .rendering import BETWEEN, HEAD, cells_in_pieces, tail
from .views import Source

log = logging.getLogger(__name__)

NOTEBOOK = "notebook.ipynb"
INHERITED = ".inherited.ipynb"
"""What a branch got of its parent's file, until its own is written."""

PIECE = 262_144
"""Bytes that are held of a file that is served or written."""

_CANNOT_COPY = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}

Signature = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Written:
    """What is known of a file: ``ends[i]`` is where cell ``i`` ends, ``versions[i]`` which it is."""

    name: str
    signature: Signature
    version: int
    versions: array[int] = field(repr=False)
    ends: array[int] = field(repr=False)
    generation: object = field(default=None, repr=False)


class IpynbFile:
    """The file in ``directory``. Its methods block; one thread at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._written: Written | None = None

    def __repr__(self) -> str:
        return f"<IpynbFile {self._directory.name}, {self._written}>"

    def bring_up_to_date(self, edition: Edition, source: Source, generation: object) -> FileIO | None:
        """Write the file unless it is this edition already, or a later one; give it, open for reading.

        What was written of another ``generation`` tells nothing of this one. None if the file cannot be written:
        the disk is full, or something is in its place.
        """
        known = self._written if self._written is not None and self._written.generation is generation else None
        old = None if known is None else self._open(known)
        if known is not None and old is not None and known.name == NOTEBOOK and known.version >= edition.version:
            return old
        temporary = self._directory / f".{NOTEBOOK}.{secrets.token_hex(4)}"
        try:
            file = FileIO(temporary, "x+")
        except OSError as error:
            self._tell(error)
            _close(old)
            return None
        try:
            written = _write(file, edition, source, None if old is None else known, old)
            temporary.replace(self._directory / NOTEBOOK)
        except OSError as error:
            self._tell(error)
            file.close()
            temporary.unlink(missing_ok=True)
            return None
        except BaseException:
            file.close()
            temporary.unlink(missing_ok=True)
            raise
        finally:
            _close(old)
        self.drop_inheritance()
        self._written = replace(written, generation=generation)
        return file

    def inherit(self, parent: IpynbFile) -> None:
        """Take over what the parent's file has, as another name of it; nothing is copied."""
        written = parent._written
        if written is None:
            return
        with contextlib.suppress(OSError):  # no file there, or no more names for it: the journal has it all
            os.link(parent._directory / written.name, self._directory / INHERITED)
            self._written = replace(written, name=INHERITED)

    def drop_inheritance(self) -> None:
        """Give back the name that the parent's file has here."""
        (self._directory / INHERITED).unlink(missing_ok=True)

    def _open(self, known: Written) -> FileIO | None:
        try:
            file = FileIO(self._directory / known.name)
        except OSError:
            return None
        if _signature(file) != known.signature:
            file.close()
            return None
        return file

    def _tell(self, error: OSError) -> None:
        # The journal has it all; whoever reads the notebook through the service gets it from there.
        log.warning("The notebook of %s could not be written: %s", self._directory.name, error)


def in_pieces(edition: Edition, source: Source) -> Iterator[bytes]:
    """Give the .ipynb of an edition without a file."""
    yield HEAD
    for number, pieces in enumerate(cells_in_pieces(source, edition.cells, edition.metadata)):
        if number:
            yield BETWEEN
        yield from pieces
    yield tail(edition.metadata)


def _write(file: FileIO, edition: Edition, source: Source, known: Written | None, old: FileIO | None) -> Written:
    """Write an edition; what ``old`` has of it is copied from there."""
    versions, ends = array("Q", [cell.version for cell in edition.cells]), array("Q")
    out = _Out(file)
    out.write(HEAD)
    for number, stop, is_known in _stretches(versions, known.versions if known is not None else versions[:0]):
        if is_known and known is not None and old is not None:
            begin = known.ends[number - 1] + len(BETWEEN) if number else len(HEAD)
            out.write(BETWEEN if number else b"")
            shift = out.position - begin
            out.copy(old, begin, known.ends[stop - 1])
            ends.extend(end + shift for end in known.ends[number:stop])
            continue
        for pieces in cells_in_pieces(source, edition.cells[number:stop], edition.metadata):
            out.write(BETWEEN if ends else b"")
            for piece in pieces:
                out.write(piece)
            ends.append(out.position)
    out.write(tail(edition.metadata))
    out.flush()
    return Written(NOTEBOOK, _signature(file), edition.version, versions, ends)


def _stretches(versions: array[int], known: array[int]) -> Iterator[tuple[int, int, bool]]:
    """Part the cells into those that are known and those that are not: from, until, whether."""
    begin = 0
    limit = min(len(versions), len(known))
    while begin < limit:
        is_known = versions[begin] == known[begin]
        stop = begin + 1
        while stop < limit and (versions[stop] == known[stop]) == is_known:
            stop += 1
        yield begin, stop, is_known
        begin = stop
    if begin < len(versions):
        yield begin, len(versions), False


class _Out:
    """The new file, written in pieces of some size."""

    def __init__(self, file: FileIO) -> None:
        self.position = 0
        self._file = file
        self._held = bytearray()

    def write(self, data: bytes) -> None:
        self.position += len(data)
        if len(self._held) + len(data) < PIECE:
            self._held += data
            return
        self.flush()
        self._write(data)

    def flush(self) -> None:
        self._write(self._held)
        self._held = bytearray()

    def _write(self, data: bytes | bytearray) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) or 0 :]

    def copy(self, old: FileIO, begin: int, end: int) -> None:
        """Copy a part of another file, where the file system can by sharing the blocks."""
        self.flush()
        self.position += end - begin
        while begin < end:
            try:
                copied = os.copy_file_range(old.fileno(), self._file.fileno(), end - begin, begin)
            except OSError as error:
                if error.errno not in _CANNOT_COPY:
                    raise
                data = os.pread(old.fileno(), min(PIECE, end - begin), begin)
                self._write(data)
                copied = len(data)
            if not copied:
                raise OSError(errno.EIO, "The notebook's file is shorter than it was.")
            begin += copied


def _signature(file: FileIO) -> Signature:
    state = os.fstat(file.fileno())
    return state.st_ino, state.st_size, state.st_mtime_ns


def _close(file: FileIO | None) -> None:
    if file is not None:
        file.close()
