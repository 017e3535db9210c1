"""A notebook as one value of bounded size: whole but for large outputs, of which it says what they are.

For whoever compares notebooks or tells a model of one. It is valid nbformat; a large text keeps its head and
its tail, and everything that is cut says how long it was and carries its digest, so that two outlines differ
where their notebooks do. ``views`` are below, ``reading`` above.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from .notebook import Edition
from .outputs import Output, stream
from .views import Source, view

LARGEST_OUTPUT = 8_192
"""Characters of an output that is kept as it is."""
LARGEST_CELL = 65_536
"""Characters of a cell's outputs, after which the rest is one digest."""
LARGEST_NOTEBOOK = 16 << 20
"""Characters of all outputs, after which those of a cell are one digest."""


def outline(edition: Edition, source: Source) -> dict[str, Any]:
    """Make the outline of a notebook."""
    room = LARGEST_NOTEBOOK
    cells = []
    for cell in edition.cells:
        shown = view(source, cell)
        if shown.outputs is None:
            cells.append(shown.whole())
            continue
        outputs, size = _bounded(shown.outputs, min(room, LARGEST_CELL))
        room -= size
        cells.append({**shown.fields, "outputs": outputs})
    return {"cells": cells, "metadata": edition.metadata, "nbformat": 4, "nbformat_minor": 5}


def _bounded(outputs: Iterable[Output], room: int) -> tuple[list[Output], int]:
    kept: list[Output] = []
    size = left_out = characters = 0
    digest = hashlib.sha256()
    for output in outputs:
        short = shortened(output)
        length = len(json.dumps(short))
        if left_out or size + length > room:
            text = json.dumps(output, sort_keys=True)
            digest.update(text.encode())
            left_out += 1
            characters += len(text)
        else:
            kept.append(short)
            size += length
    if left_out:
        sentence = f"[{left_out:,} more outputs, {characters:,} characters, sha256 {digest.hexdigest()}]\n"
        kept.append(stream("stderr", sentence))
    return kept, size


def shortened(output: Output) -> Output:
    """Shorten what is longer than LARGEST_OUTPUT characters in an output."""
    kind = output["output_type"]
    if kind == "stream":
        return {**output, "text": cut(output["text"])}
    if kind == "error":
        traceback = "\n".join(output["traceback"])
        lines = output["traceback"] if len(traceback) <= LARGEST_OUTPUT else [cut(traceback)]
        return {**output, "ename": cut(output["ename"]), "evalue": cut(output["evalue"]), "traceback": lines}
    data = {mime: _value(mime, value) for mime, value in output["data"].items()}
    short = {**output, "data": data}
    if len(json.dumps(data)) > 4 * LARGEST_OUTPUT:  # many forms, or long names of them
        short["data"] = {"text/plain": _told(json.dumps(output["data"], sort_keys=True))}
    if len(json.dumps(output["metadata"])) > LARGEST_OUTPUT:
        short["metadata"] = {"left_out": _told(json.dumps(output["metadata"], sort_keys=True))}
    return short


def cut(text: str) -> str:
    """Keep head and tail of a text, and say what it was."""
    if len(text) <= LARGEST_OUTPUT:
        return text
    half = LARGEST_OUTPUT // 2
    return f"{text[:half]}\n… {_told(text)} …\n{text[-half:]}"


def _value(mime: str, value: Any) -> Any:
    if not isinstance(value, str):
        text = json.dumps(value, sort_keys=True)
        return value if len(text) <= LARGEST_OUTPUT else _told(text)
    if len(value) <= LARGEST_OUTPUT:
        return value
    return cut(value) if mime.startswith("text/") else _told(value)


def _told(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
    return f"[{len(text):,} characters, sha256 {digest}]"
