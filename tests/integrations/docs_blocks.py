"""The code blocks of a page of the documentation, as a reader would run them.

``blocks`` gives a page's fenced blocks of one language with their places; ``run_python`` runs the Python ones of
a page one after the other in one namespace (``await`` at the top level is fine), so that a later block may use what
an earlier one made, and fails at the page's own line. A block whose fence says ``no-run`` (```` ```python no-run ````)
is only compiled: for what cannot run here.
"""

import ast
import asyncio
import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs"
_FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    """Of its first line of code, in the page; counts from 1."""
    language: str
    source: str
    runs: bool


def blocks(page: str, language: str) -> list[Block]:
    """``page`` is below docs/, such as ``integrations/anthropic.md``."""
    path = DOCS / page
    text = path.read_text(encoding="utf-8")
    found = [
        Block(path, text.count("\n", 0, match.start()) + 2, match[1], match[3], "no-run" not in match[2])
        for match in _FENCE.finditer(text)
    ]
    chosen = [block for block in found if block.language == language]
    assert chosen, f"{page} has no block of {language}"
    return chosen


def run_python(page: str, namespace: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run a page; what its blocks defined comes back."""
    names = {"__name__": "__main__"} if namespace is None else namespace
    for block in blocks(page, "python"):
        code = compile_block(block)
        if block.runs:
            outcome = eval(code, names)
            if inspect.iscoroutine(outcome):
                asyncio.run(outcome)
    return names


def compile_block(block: Block) -> Any:
    source = "\n" * (block.line - 1) + block.source
    return compile(source, str(block.page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
