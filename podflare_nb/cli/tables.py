"""Tables on a terminal, or JSON for a program."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import typer


def show(rows: Sequence[dict[str, Any]], *, as_json: bool, empty: str) -> None:
    """Print rows with the keys of the first as headings; ``empty`` says that there are none."""
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    if not rows:
        typer.echo(empty)
        return
    cells = [[str(name) for name in rows[0]], *[[_text(value) for value in row.values()] for row in rows]]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    for number, line in enumerate(cells):
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        typer.echo(typer.style(text, bold=True) if number == 0 else text)


def moment(value: datetime | str | None) -> str:
    """Show a moment in local time, to the minute."""
    if value is None:
        return "-"
    parsed = datetime.fromisoformat(value) if isinstance(value, str) else value
    return parsed.astimezone().strftime("%Y-%m-%d %H:%M")


def _text(value: Any) -> str:
    """What a sandbox chose (a host, a title) must not steer the terminal."""
    if value is None or value == "":
        return "-"
    return "".join(c if c.isprintable() else " " for c in str(value))
