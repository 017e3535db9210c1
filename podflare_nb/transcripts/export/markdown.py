"""A notebook as one Markdown file: prose as it is, code fenced, outputs as text and embedded images.

Raw HTML outputs are left out in favour of their text form, so that the file stays readable as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .terminal_text import plain

IMAGES = ("image/png", "image/jpeg", "image/webp", "image/gif")


def markdown_of(notebook: Mapping[str, Any]) -> Iterator[str]:
    """Make the file, in pieces."""
    between = ""
    for cell in notebook["cells"]:
        for part in _cell(cell):
            if part.strip():
                yield between
                yield part.rstrip()
                between = "\n\n"
    yield "\n"


def _cell(cell: Mapping[str, Any]) -> Iterator[str]:
    if cell["cell_type"] != "code":
        about = cell["metadata"].get("podflare_nb", {})
        role, operator = about.get("role"), about.get("operator")
        if operator and role == "assistant":
            yield f"{_literal(str(operator))}:"
        yield _quoted(cell["source"]) if role == "user" else cell["source"]
        return
    source, language = cell["source"], "python"
    if source.startswith("%%bash"):
        source, language = source.partition("\n")[2], "bash"
    yield fenced(source, language)
    for output in cell["outputs"]:
        yield _output(output)


def _output(output: Mapping[str, Any]) -> str:
    kind = output["output_type"]
    if kind == "stream":
        return fenced(plain(output["text"]), "text")
    if kind == "error":
        return fenced(plain("\n".join(output["traceback"])), "text")
    data = output["data"]
    for mime in IMAGES:
        if mime in data:
            return f"![output](data:{mime};base64,{''.join(str(data[mime]).split())})"
    if "text/markdown" in data:
        return str(data["text/markdown"])
    if "text/latex" in data:
        return str(data["text/latex"])
    return fenced(plain(str(data.get("text/plain", f"<{', '.join(sorted(data))}>"))), "text")


def fenced(text: str, language: str) -> str:
    """Fence a text with more backticks than it holds in a row."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _literal(text: str) -> str:
    """Show a name that anybody may have chosen, and that is not to be read as Markdown."""
    return "`" + " ".join(text.replace("`", "'").split()) + "`"


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())
