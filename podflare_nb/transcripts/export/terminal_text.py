"""Text of a terminal as text of a page: what a carriage return or a backspace has overwritten is gone.

The notebook keeps the raw text; only pages and Markdown, which have no cursor, need this.
"""

from __future__ import annotations

import re

ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_]")


def overwritten(text: str) -> str:
    """Apply carriage returns and backspaces, line by line."""
    if "\r" not in text and "\b" not in text:
        return text
    return "\n".join(_line(line) for line in text.replace("\r\n", "\n").split("\n"))


def plain(text: str) -> str:
    """Apply overwriting and drop colours."""
    return ANSI.sub("", overwritten(text))


def _line(line: str) -> str:
    """Lay the parts between carriage returns over each other."""
    shown = ""
    for part in line.split("\r"):
        shown = part + shown[len(part) :]
    if "\b" not in shown:
        return shown
    kept: list[str] = []
    for character in shown:
        if character != "\b":
            kept.append(character)
        elif kept:
            kept.pop()
    return "".join(kept)
