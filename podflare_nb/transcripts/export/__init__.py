"""A notebook in the formats that people read and run elsewhere: HTML page, Markdown, Python script.

Takes plain JSON of nbformat, whose cells and outputs may be read as somebody walks through them, and gives
text in pieces, so that an export of any notebook holds one output at a time. What a page does not show of a
large output, it says (``outputs``); Markdown and script have all. Pure, blocking (call it in a worker thread)
and slow to import where nbconvert is needed, which is why each format is imported at its first use. The .ipynb
itself needs no export.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, Literal, get_args

from ...errors import InvalidArgumentError

ExportFormat = Literal["html", "md", "py"]

CONTENT_TYPES: dict[str, str] = {
    "html": "text/html; charset=utf-8",
    "md": "text/markdown; charset=utf-8",
    "py": "text/x-python; charset=utf-8",
}


PIECE = 262_144
"""Characters that an export holds before it gives them away."""


def export(notebook: Mapping[str, Any], form: ExportFormat) -> str:
    """Export a notebook. Raises InvalidArgumentError for a format that there is not."""
    return "".join(_exporter(form)(notebook))


def export_pieces(notebook: Mapping[str, Any], form: ExportFormat) -> Generator[bytes]:
    """Export a notebook in pieces, UTF-8, holding one output at a time. Raises InvalidArgumentError."""
    held: list[str] = []
    size = 0
    for text in _exporter(form)(notebook):
        held.append(text)
        size += len(text)
        if size >= PIECE:
            yield "".join(held).encode()
            held, size = [], 0
    yield "".join(held).encode()


def _exporter(form: ExportFormat) -> Callable[[Mapping[str, Any]], Iterator[str]]:
    if form == "html":
        from .page import page_of  # noqa: PLC0415  # imports nbconvert, which takes half a second

        return page_of
    if form == "md":
        from .markdown import markdown_of  # noqa: PLC0415  # as above

        return markdown_of
    if form == "py":
        from .script import script_of  # noqa: PLC0415  # imports IPython

        return script_of
    raise InvalidArgumentError(f"There is no export to {form!r}; there are {', '.join(get_args(ExportFormat))}.")
