"""From the events of a turn to text on a terminal: what the agent says, the code it runs, what comes out.

Pictures cannot be shown; they are named, with where to see them. Knows no HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import IO, Any

import typer

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f\x9b]|\x1b(?!\[[0-9;:]*m)")
"""Everything but colours, tabs and line ends: what a sandbox prints must not steer the terminal."""

COLOUR = re.compile(r"\x1b\[[0-9;:]*m")

PICTURES = ("image/png", "image/jpeg", "image/svg+xml", "image/gif")


class TurnPrinter:
    """Prints events to ``out``; colours only when it is a terminal."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._colour = out.isatty()
        self._fresh = True
        self._silent: set[str] = set()
        self._status = "error"

    def show(self, event: dict[str, Any]) -> None:
        """Print one event; a type that is not known is skipped."""
        act: Callable[[dict[str, Any]], None] | None = {
            "text-delta": self._text,
            "cell-start": self._start,
            "cell-output": self._output,
            "cell-end": self._end,
            "approval-request": self._approval,
            "notice": self._complain,
            "turn-error": self._complain,
            "turn-end": self._turn_end,
        }.get(event["type"])
        if act is not None:
            act(event["data"])

    def finish(self) -> str:
        """End the last line; give how the turn ended."""
        self._line()
        self._out.flush()
        return self._status

    def _start(self, cell: dict[str, Any]) -> None:
        if cell.get("role") == "user":
            self._silent.add(cell["cell_id"])
            return
        self._line()
        if cell["cell_type"] == "code":
            for line in cell["source"].splitlines() or [""]:
                self._write(self._styled(f"  | {line}", fg=typer.colors.CYAN) + "\n")
        else:
            self._write(cell["source"])

    def _text(self, delta: dict[str, Any]) -> None:
        if delta["cell_id"] not in self._silent:
            self._write(delta["text"])

    def _output(self, data: dict[str, Any]) -> None:
        output = data["output"]
        kind = output["output_type"]
        if kind == "stream":
            text = _joined(output["text"])
            self._write(self._styled(text, fg=typer.colors.YELLOW) if output["name"] == "stderr" else text)
        elif kind == "error":
            self._line()
            trace = "\n".join(output["traceback"]) or f"{output['ename']}: {output['evalue']}"
            self._write((trace if self._colour else COLOUR.sub("", trace)) + "\n")
        elif kind in {"display_data", "execute_result"}:
            self._line()
            self._write(_bundle(output["data"]) + "\n")

    def _end(self, cell: dict[str, Any]) -> None:
        self._line()
        if cell.get("status") in {"interrupted", "timeout", "died"}:
            self._write(self._styled(f"({cell.get('message') or cell['status']})", fg=typer.colors.RED) + "\n")

    def _approval(self, request: dict[str, Any]) -> None:
        self._line()
        for line in request["source"].splitlines():
            self._write(self._styled(f"  ? {line}", fg=typer.colors.MAGENTA) + "\n")
        self._out.flush()

    def _complain(self, data: dict[str, Any]) -> None:
        self._line()
        self._write(self._styled(str(data.get("message", "")), fg=typer.colors.RED) + "\n")

    def _turn_end(self, data: dict[str, Any]) -> None:
        self._status = str(data.get("status", "error"))
        if self._status in {"cancelled", "limit"}:
            self._complain({"message": data.get("message") or f"The turn ended: {self._status}."})

    def _line(self) -> None:
        """Begin a new line, unless one has just begun."""
        if not self._fresh:
            self._write("\n")

    def _write(self, text: str) -> None:
        if text:
            self._out.write(CONTROL.sub("", text))
            self._out.flush()
            self._fresh = text.endswith("\n")

    def _styled(self, text: str, *, fg: str) -> str:
        return typer.style(text, fg=fg) if self._colour else text


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def _bundle(data: dict[str, Any]) -> str:
    """Show a result: its text, and the name of a picture that a terminal cannot show."""
    text = _joined(data.get("text/plain", ""))
    for mime in PICTURES:
        if mime in data:
            return f"[{mime}: open the chat page or export the notebook to see it] {text}".rstrip()
    return text or f"[{', '.join(data)}]"
