"""A notebook in the formats that people read and run elsewhere: HTML page, Markdown, Python script.

Takes the plain JSON that ``Transcript.notebook`` gives and returns text; pure, blocking (call it in a worker
thread) and slow to import where nbconvert is needed, which is why each format is imported at its first use.
The .ipynb itself needs no export.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from ...errors import InvalidArgumentError

ExportFormat = Literal["html", "md", "py"]

CONTENT_TYPES: dict[str, str] = {
    "html": "text/html; charset=utf-8",
    "md": "text/markdown; charset=utf-8",
    "py": "text/x-python; charset=utf-8",
}


def export(notebook: Mapping[str, Any], form: ExportFormat) -> str:
    """Export a notebook. Raises InvalidArgumentError for a format that there is not."""
    if form == "html":
        from .page import to_page  # noqa: PLC0415  # imports nbconvert, which takes half a second

        return to_page(notebook)
    if form == "md":
        from .markdown import to_markdown  # noqa: PLC0415  # as above

        return to_markdown(notebook)
    if form == "py":
        from .script import to_script  # noqa: PLC0415  # imports IPython

        return to_script(notebook)
    raise InvalidArgumentError(f"There is no export to {form!r}; there are {', '.join(get_args(ExportFormat))}.")


__all__ = ["CONTENT_TYPES", "ExportFormat", "export"]
