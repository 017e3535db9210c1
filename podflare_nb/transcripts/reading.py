"""A transcript as others read it: turns, the notebook, its .ipynb and exports, each made in worker threads.

Whatever a notebook holds, reading it takes memory for about one of its outputs, but for ``notebook``, which
holds all. ``transcript`` stands above; ``projection`` is below.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from .cells import Cell
from .export import ExportFormat, export_pieces
from .notebook import KnownTurn
from .outline import outline
from .outputs import clean_text
from .projection import Projection
from .segments import Reader
from .turns import Turn
from .views import View, view


class Readable:
    """The reading half of a transcript, live or closed."""

    def __init__(self, projection: Projection) -> None:
        self._projection = projection

    async def turns(self) -> list[Turn]:
        """List all turns, oldest first."""
        return await asyncio.to_thread(self._turns)

    async def notebook(self) -> dict[str, Any]:
        """Give the notebook now, as plain JSON of nbformat 4.5. It holds every output: see ``outline``."""
        return await asyncio.to_thread(self._notebook)

    async def outline(self) -> dict[str, Any]:
        """Give the notebook now with large outputs replaced by what they are: bounded, for diffs and models."""
        return await asyncio.to_thread(self._outline)

    def ipynb_pieces(self) -> AsyncGenerator[bytes]:
        """Give the notebook now, as the bytes of its .ipynb in pieces; the file is brought up to date, too.

        What handlers send: ``async for piece in transcript.ipynb_pieces(): self.write(piece); await self.flush()``.
        It is one edition, whatever is recorded while a slow reader takes it. Close it (``contextlib.aclosing``)
        when leaving early: it holds a descriptor.
        """
        return _in_thread(self._projection.ipynb())

    async def ipynb(self) -> bytes:
        """Give the .ipynb in one. It holds every output: see ``ipynb_pieces``."""
        return b"".join([piece async for piece in self.ipynb_pieces()])

    def export_pieces(self, form: ExportFormat) -> AsyncGenerator[bytes]:
        """Give an export in pieces, UTF-8; to be sent as ``ipynb_pieces``. Raises InvalidArgumentError."""
        return _in_thread(self._export(form))

    def _turns(self) -> list[Turn]:
        with Reader(self._projection.directory) as journal:
            return [_with_its_message(known, journal) for known in self._projection.turns()]

    def _notebook(self) -> dict[str, Any]:
        with self._opened() as notebook:
            return {**notebook, "cells": [cell.whole() for cell in notebook["cells"].views()]}

    def _outline(self) -> dict[str, Any]:
        edition = self._projection.edition()
        with Reader(self._projection.directory) as journal:
            return outline(edition, journal)

    def _export(self, form: ExportFormat) -> Generator[bytes]:
        with self._opened() as notebook:
            yield from export_pieces(notebook, form)

    @contextmanager
    def _opened(self) -> Iterator[dict[str, Any]]:
        """Give the notebook with cells that are read as somebody walks through them."""
        edition = self._projection.edition()
        with Reader(self._projection.directory) as journal:
            cells = LazyCells(edition.cells, journal)
            yield {"cells": cells, "metadata": edition.metadata, "nbformat": 4, "nbformat_minor": 5}


class LazyCells:
    """The cells of an edition, each read when it is its turn. Any number of walks."""

    def __init__(self, cells: list[Cell], journal: Reader) -> None:
        self._cells = cells
        self._journal = journal

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (cell.lazy() for cell in self.views())

    def views(self) -> Iterator[View]:
        """Read each cell."""
        return (view(self._journal, cell) for cell in self._cells)


async def _in_thread(pieces: Generator[bytes]) -> AsyncGenerator[bytes]:
    """Take each piece in a worker thread."""
    loop = asyncio.get_running_loop()
    taking = None
    try:
        while True:
            taking = loop.run_in_executor(None, next, pieces, None)
            if (piece := await asyncio.shield(taking)) is None:
                return
            yield piece
    finally:
        if taking is not None:
            await asyncio.wait([taking])  # a generator at work cannot be closed
        pieces.close()


def _with_its_message(known: KnownTurn, journal: Reader) -> Turn:
    """Read the message back that the index holds an excerpt of."""
    for record, _, _ in journal.records(*known.place):
        if record is not None:
            return replace(known.turn, message=clean_text(record["text"]))
    return known.turn
