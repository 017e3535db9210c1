"""A notebook as the pieces of its .ipynb: valid nbformat 4.5, never more than one large output in memory.

Source stands one line per line and each output on a line of its own, which reads well in a diff; the C encoder
does the rest (an indenting one would be ten times slower). Everything is validated before it is given: small
cells many at a time, a large one with its outputs shortened, since validity does not depend on the length of
their texts. ``views`` are below, ``ipynb_file`` and ``projection`` above.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from typing import Any

from .cells import Cell
from .outputs import JSON_MIME, Output, stream
from .views import READ_AT_ONCE, Source, View, in_order, view

log = logging.getLogger(__name__)

HEAD = b'{\n "cells": [\n'
BETWEEN = b",\n"

_TOGETHER = 100
"""How many small things are validated in one go."""
_EXCERPT = 64
_SLICE = 65_536
"""Characters of a text that are encoded at a time."""

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True).encode


def tail(metadata: dict[str, Any]) -> bytes:
    """Give what comes after the last cell."""
    return f'\n ],\n "metadata": {_encode(metadata)},\n "nbformat": 4,\n "nbformat_minor": 5\n}}\n'.encode()


def cells_in_pieces(source: Source, cells: Iterable[Cell], metadata: dict[str, Any]) -> Iterator[Iterator[bytes]]:
    """Give each cell in pieces, without what stands between them; walk through each before the next."""
    small: list[dict[str, Any]] = []
    held = 0
    for cell in cells:
        size = sum(cell.runs[1::2]) - sum(cell.runs[::2])
        if small and (len(small) >= _TOGETHER or held + size > READ_AT_ONCE):
            yield from (iter([_cell_bytes(whole)]) for whole in valid(small, metadata))
            small, held = [], 0
        if size > READ_AT_ONCE:
            yield _in_pieces(view(source, cell), metadata)
        else:
            small.append(view(source, cell).whole())
            held += size
    yield from (iter([_cell_bytes(whole)]) for whole in valid(small, metadata))


def valid(wholes: list[dict[str, Any]], metadata: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the cells if they are valid; one that is not (a defect of ours) loses its outputs and says so."""
    if _is_valid(wholes, metadata):
        return wholes
    return [whole if _is_valid([whole], metadata) else {**whole, "outputs": [_notice()]} for whole in wholes]


def _in_pieces(large: View, metadata: dict[str, Any]) -> Iterator[bytes]:
    if large.outputs is None:
        yield _cell_bytes(large.fields)
        return
    fields = in_order(large.fields, [])
    lines = iter(_field_lines(fields, "outputs"))
    yield b"  {\n" + ",\n".join(next(lines)).encode() + b',\n   "outputs": ['
    before = b"\n"
    for batch in _batches(large.outputs):
        shortened = {**fields, "outputs": [_shortened(output) for output in batch]}
        is_valid = _is_valid([shortened], metadata)
        for output in batch:
            yield before + b"    "
            yield from _encoded(output if is_valid else _notice())
            before = BETWEEN
    yield (b"\n   ],\n" if large.outputs else b"],\n") + ",\n".join(next(lines)).encode() + b"\n  }"


def _batches(outputs: Iterable[Output]) -> Iterator[list[Output]]:
    """Give outputs together as many as are small."""
    batch: list[Output] = []
    held = 0
    for output in outputs:
        batch.append(output)
        texts = (output, output.get("data", {}))
        held += sum(len(value) for values in texts for value in values.values() if isinstance(value, str))
        if held > READ_AT_ONCE or len(batch) >= _TOGETHER:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _encoded(value: Any) -> Iterator[bytes]:
    """Encode as ``_encode`` does, a long text in slices."""
    if isinstance(value, dict):
        before = "{"
        for key in sorted(value):
            yield f"{before}{_encode(key)}: ".encode()
            yield from _encoded(value[key])
            before = ", "
        yield b"}" if value else b"{}"
    elif isinstance(value, str) and len(value) > _SLICE:
        yield b'"'
        for begin in range(0, len(value), _SLICE):
            yield _encode(value[begin : begin + _SLICE])[1:-1].encode()
        yield b'"'
    else:
        yield _encode(value).encode()


def _shortened(output: Output) -> Output:
    short = {key: value[:_EXCERPT] if isinstance(value, str) else value for key, value in output.items()}
    if "data" in output:
        short["data"] = {
            mime: None if JSON_MIME.search(mime) else value[:_EXCERPT] for mime, value in output["data"].items()
        }
    return short


def _is_valid(wholes: list[dict[str, Any]], metadata: dict[str, Any]) -> bool:
    from nbformat import ValidationError, validate  # noqa: PLC0415  # slow to import: not before it is needed

    try:
        validate({"cells": wholes, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})
    except ValidationError:
        log.exception("A cell of a transcript is not valid nbformat.")
        return False
    return True


def _notice() -> Output:
    return stream("stderr", "[an output of this cell is in the journal; it is not valid in a notebook]\n")


def _cell_bytes(whole: dict[str, Any]) -> bytes:
    """Lay out a cell: its keys, its source's lines and its outputs each on a line."""
    fields = [line for part in _field_lines(whole, "") for line in part]
    return ("  {\n" + ",\n".join(fields) + "\n  }").encode()


def _field_lines(fields: dict[str, Any], around: str) -> tuple[list[str], list[str]]:
    """Lay out the fields before ``around`` and those after it."""
    parts: tuple[list[str], list[str]] = ([], [])
    part = 0
    for key, value in fields.items():
        if key == around:
            part = 1
            continue
        laid_out = value.splitlines(keepends=True) if key == "source" else value
        parts[part].append(f'   "{key}": {_lines(laid_out) if isinstance(laid_out, list) else _encode(laid_out)}')
    return parts


def _lines(items: list[Any]) -> str:
    return "[\n" + ",\n".join(f"    {_encode(item)}" for item in items) + "\n   ]" if items else "[]"
