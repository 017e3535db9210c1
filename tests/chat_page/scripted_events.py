"""What a script of the stand-in service is made of: the events of cells and their outputs, written short."""

from typing import Any

Event = dict[str, Any]


def nothing_differs() -> dict[str, Any]:
    """What ``diff`` answers for branches that are the same."""
    return {
        "files": {"added": [], "removed": [], "modified": [], "truncated": False},
        "variables": {"added": [], "removed": [], "changed": [], "unknown": [], "truncated": False},
        "cells": {"diff": [], "summary": {"added": 0, "removed": 0, "modified": 0}},
    }


HOLD = {"type": "hold", "data": {}}
"""In a script: the turn waits here until the test calls ``release``."""
CUT = {"type": "cut", "data": {}}
"""In a script: the connection is torn here; the turn itself goes on."""


def code(cell: str, source: str, *outputs: Event, status: str = "ok", count: int = 1) -> list[Event]:
    """The events of one code cell."""
    start = {"cell_id": cell, "cell_type": "code", "role": "tool", "source": source, "language": "python"}
    if source.startswith("%%bash"):
        start["language"] = "bash"
    return [
        {"type": "cell-start", "data": start},
        *(output(cell, one) for one in outputs),
        {"type": "cell-end", "data": {"cell_id": cell, "status": status, "execution_count": count}},
    ]


def output(cell: str, one: Event) -> Event:
    """One output in a cell that runs; holds and cuts pass through."""
    return one if "type" in one else {"type": "cell-output", "data": {"cell_id": cell, "output": one}}


def says(cell: str, *pieces: str) -> list[Event]:
    """The events of an assistant's markdown, piece by piece."""
    start = {"cell_id": cell, "cell_type": "markdown", "role": "assistant", "source": ""}
    return [
        {"type": "cell-start", "data": start},
        *({"type": "text-delta", "data": {"cell_id": cell, "text": piece}} for piece in pieces),
        {"type": "cell-end", "data": {"cell_id": cell, "status": "ok"}},
    ]


def display(**data: Any) -> Event:
    """A display of one or more MIME types; ``text_html`` stands for text/html."""
    bundle = {name.replace("_", "/", 1): value for name, value in data.items()}
    return {"output_type": "display_data", "data": bundle, "metadata": {}}


def stream(text: str, name: str = "stdout") -> Event:
    """Text on a stream."""
    return {"output_type": "stream", "name": name, "text": text}
