"""Where transcripts live: ``<root>/<sandbox_id>/``, the journal and the .ipynb; they outlive their sandboxes.

Stands on ``transcript``; ``app`` makes one, the handlers open transcripts by sandbox id and check the
header's ``tenant_id``.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from ..errors import ConflictError, NoCapacityError, NotFoundError
from .header import TranscriptHeader, header_of
from .ipynb_file import INHERITED
from .journal import Journal, sync
from .position import Ancestor
from .segments import FIRST, parse, share
from .transcript import Surroundings, Transcript, title_of

SANDBOX_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
OUTPUT_BUDGET = 256 << 20
"""Bytes; see TranscriptStore."""
BRANCH = "branch.json"
"""Beside the journal of a branch: its header, and whose records come before it."""
_HEAD_BYTES = 65_536
_BUILDING = ".building-"
_TURN = b'{"t":"turn",'


def random_cell_id() -> str:
    """Make an id as nbformat wants it."""
    return secrets.token_hex(8)


class TranscriptStore:
    """An async context manager, closed by ``close``. ``clock`` gives seconds since the epoch.

    ``output_budget`` is how many bytes a sandbox's journal (with what it has of its parents') may grow to by
    outputs; of those that come later the notebook tells how many and how large they were. So code that prints
    for ever fills no disk.
    """

    def __init__(
        self,
        root: Path,
        clock: Callable[[], float] = time.time,
        new_cell_id: Callable[[], str] = random_cell_id,
        output_budget: int = OUTPUT_BUDGET,
    ) -> None:
        self.root = root
        self._clock = clock
        self._new_cell_id = new_cell_id
        self._output_budget = output_budget
        self._live: dict[str, Transcript] = {}
        # One thread: notebooks are written one after the other, and never take more than one core.
        self._worker = ThreadPoolExecutor(1, "transcripts")
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._worker.submit(_sweep, [entry.path for entry in os.scandir(root)])

    def __repr__(self) -> str:
        return f"<TranscriptStore {self.root}, {len(self._live)} live>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def create(self, header: TranscriptHeader) -> Transcript:
        """Create the transcript of a new sandbox; its header is in the journal when this returns.

        Raises ConflictError if there is one of this id already, NoCapacityError if the disk is full.
        """
        directory = self._directory(header.sandbox_id)
        try:
            directory.mkdir(mode=0o700)
        except FileExistsError:
            raise ConflictError(f"Sandbox {header.sandbox_id} has a transcript already.") from None
        except OSError as error:
            raise _no_room(error) from error
        lineage = [Ancestor(header.sandbox_id, 0, 0)]
        transcript = self._transcript(directory, header, lineage, live=True)
        if not transcript.record(header.to_record()):
            transcript.abandon()
            shutil.rmtree(directory)
            raise _no_room(OSError("see the log"))
        self._live[header.sandbox_id] = transcript
        return transcript

    def fork(self, parent: Transcript, header: TranscriptHeader) -> Transcript:
        """Create the transcript of a branch: everything that the parent's has by now, and its own from here on.

        ``header.forked_from`` tells of what. The two share what is recorded so far, on disk (links; deleting one
        leaves the other whole) and in memory; the work does not grow with its size. The branch's .ipynb is
        written when it has something of its own or is read. Raises ConflictError if there is one of this id
        already, NoCapacityError if the disk is full.
        """
        directory = self._directory(header.sandbox_id)
        if directory.exists():
            raise ConflictError(f"Sandbox {header.sandbox_id} has a transcript already.")
        building = self.root / f"{_BUILDING}{secrets.token_hex(8)}"
        try:
            building.mkdir(mode=0o700)
            if (fd := parent.journal.sync_job()) is not None:
                self._worker.submit(sync, fd)
            parent.journal.release()  # its next record goes into a segment of its own, if this one is linked
            begin = share(parent.journal.directory, building)
            lineage = [*parent.lineage, Ancestor(header.sandbox_id, begin, parent.position()[1])]
            (building / BRANCH).write_text(json.dumps({"header": header.to_record(), "lineage": lineage}))
            journal = Journal(building)
            recorded = journal.append(header.to_record())
            journal.release()
            if not recorded:
                raise OSError("see the log")  # noqa: TRY301  # as for any other write
            building.rename(directory)
        except OSError as error:
            shutil.rmtree(building, ignore_errors=True)
            raise _no_room(error) from error
        transcript = self._transcript(directory, header, lineage, live=True)
        transcript.inherit(parent)
        self._live[header.sandbox_id] = transcript
        return transcript

    def open(self, sandbox_id: str) -> Transcript:
        """Give the live transcript, or open it from disk. Raises NotFoundError."""
        if (live := self._live.get(sandbox_id)) is not None:
            return live
        directory = self._directory(sandbox_id)
        try:
            with (directory / FIRST).open("rb") as file:
                head = file.read(_HEAD_BYTES)
        except FileNotFoundError:
            raise _no_such(sandbox_id) from None
        lines = [line for line in head.splitlines(keepends=True) if line.endswith(b"\n")]
        header = header_of(sandbox_id, parse(lines[0]) if lines else None)
        lineage = [Ancestor(sandbox_id, 0, 0)]
        if (branch := _branch(directory)) is not None:
            header = header_of(sandbox_id, branch["header"])
            lineage = [Ancestor(*ancestor) for ancestor in branch["lineage"]]
        transcript = self._transcript(directory, header, lineage, live=False)
        turn = next((parse(line) for line in lines if line.startswith(_TURN)), None)
        transcript.title = title_of(turn["text"]) if turn else None
        return transcript

    def sandbox_ids(self) -> list[str]:
        """List whose transcripts are here, in no order."""
        return [entry.name for entry in os.scandir(self.root) if SANDBOX_ID.fullmatch(entry.name) and entry.is_dir()]

    async def delete(self, sandbox_id: str) -> None:
        """Remove a transcript from disk. Raises NotFoundError; ConflictError while its sandbox lives."""
        directory = self._directory(sandbox_id)
        if sandbox_id in self._live:
            raise ConflictError(f"Sandbox {sandbox_id} lives; close it before its transcript is deleted.")
        try:
            await asyncio.to_thread(shutil.rmtree, directory)
        except FileNotFoundError:
            raise _no_such(sandbox_id) from None

    async def close(self) -> None:
        """Close every live transcript (reason ``shutdown``). Idempotent."""
        for transcript in list(self._live.values()):
            transcript.end("shutdown", "The service was ended.")
        await asyncio.to_thread(self._worker.shutdown)

    def _directory(self, sandbox_id: str) -> Path:
        if not SANDBOX_ID.fullmatch(sandbox_id):
            raise _no_such(sandbox_id)
        return self.root / sandbox_id

    def _transcript(
        self, directory: Path, header: TranscriptHeader, lineage: Sequence[Ancestor], *, live: bool
    ) -> Transcript:
        return Transcript(
            directory,
            header,
            lineage,
            live=live,
            surroundings=Surroundings(
                self._clock,
                self._new_cell_id,
                self._worker,
                self._output_budget,
                lambda: self._live.pop(header.sandbox_id, None),
            ),
        )


def _sweep(found: list[str]) -> None:
    """Remove what a killed server left: forks under way, and names of files that branches had not used yet."""
    for path in found:
        if Path(path).name.startswith(_BUILDING):
            shutil.rmtree(path, ignore_errors=True)
        else:
            (Path(path) / INHERITED).unlink(missing_ok=True)


def _branch(directory: Path) -> dict[str, Any] | None:
    try:
        branch = json.loads((directory / BRANCH).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:  # power was lost before it reached the disk: it belongs to no tenant
        return {"header": {}, "lineage": [[directory.name, 0, 0]]}
    return dict(branch)


def _no_room(error: OSError) -> NoCapacityError:
    return NoCapacityError(f"No transcript can be written ({error}): free space in the data directory.")


def _no_such(sandbox_id: str) -> NotFoundError:
    return NotFoundError(f"There is no transcript of a sandbox {sandbox_id!r}.")
