"""A notebook as the bytes of its .ipynb: valid nbformat 4.5, and cheap to make again when little has changed.

Each cell's JSON is kept until the cell changes, so that rendering a notebook of 10 000 cells again costs only
what is new. Source stands one line per line and each output on a line of its own, which reads well in a diff;
the C encoder does the rest (an indenting one would be ten times slower). Every cell that changed is validated
before it is written. ``notebook`` is below, ``projection`` above.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from .cells import Cell
from .notebook import Notebook
from .outputs import stream

log = logging.getLogger(__name__)

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True).encode


class Rendering:
    """The cache of one notebook's cells as bytes."""

    def __init__(self) -> None:
        self._cells: dict[str, tuple[int, bytes]] = {}

    def render(self, notebook: Notebook) -> bytes:
        """Render the notebook as it is now."""
        changed = [cell for cell in notebook.cells.all if self._is_changed(cell)]
        metadata = notebook.metadata()
        for cell, view in zip(changed, valid([cell.view() for cell in changed], metadata), strict=True):
            self._cells[cell.id] = (cell.version, _cell_bytes(view))
        cells = b",\n".join([self._cells[cell.id][1] for cell in notebook.cells.all])
        tail = f' ],\n "metadata": {_encode(metadata)},\n "nbformat": 4,\n "nbformat_minor": 5\n}}\n'
        return b'{\n "cells": [\n' + cells + b"\n" + tail.encode()

    def _is_changed(self, cell: Cell) -> bool:
        held = self._cells.get(cell.id)
        return held is None or held[0] != cell.version


def valid(views: list[dict[str, Any]], metadata: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the cells if they are valid; one that is not (a defect of ours) loses its outputs and says so."""
    if _is_valid(views, metadata):
        return views
    return [view if _is_valid([view], metadata) else _without_outputs(view) for view in views]


def _is_valid(views: list[dict[str, Any]], metadata: dict[str, Any]) -> bool:
    from nbformat import ValidationError, validate  # noqa: PLC0415  # slow to import: not before it is needed

    try:
        validate({"cells": views, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})
    except ValidationError:
        log.exception("A cell of a transcript is not valid nbformat.")
        return False
    return True


def _without_outputs(view: dict[str, Any]) -> dict[str, Any]:
    notice = stream("stderr", "[this cell's outputs are in the journal; they are not valid in a notebook]\n")
    return {**view, "outputs": [notice]} if "outputs" in view else view


def _cell_bytes(view: dict[str, Any]) -> bytes:
    """Lay out a cell: its keys, its source's lines and its outputs each on a line."""
    laid_out = {**view, "source": view["source"].splitlines(keepends=True)}
    fields = [
        f'   "{key}": {_lines(value) if isinstance(value, list) else _encode(value)}' for key, value in laid_out.items()
    ]
    return ("  {\n" + ",\n".join(fields) + "\n  }").encode()


def _lines(items: list[Any]) -> str:
    return "[\n" + ",\n".join(f"    {_encode(item)}" for item in items) + "\n   ]" if items else "[]"
