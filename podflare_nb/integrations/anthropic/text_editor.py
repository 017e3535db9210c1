"""Anthropic's client tool ``text_editor_20250728``: view, create, str_replace and insert, on any path of the sandbox.

Each command is one bash cell (``editor_cells``): what an agent changed is in the notebook with the id of its tool
call and happens again when the notebook is run again, and every path of the sandbox can be named, which the files
API of the workspace does not give. What goes wrong is told in words that the model can act on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ..arguments import read_arguments
from ..code_tool import CodeCall, ToolOutcome
from ..steps import Steps
from . import editor_cells
from .running import Run, run_steps

if TYPE_CHECKING:
    from anthropic.types import ToolTextEditor20250728Param

NAME: Final = "str_replace_based_edit_tool"

_STRING, _NUMBER = {"type": "string"}, {"type": "integer"}
_ARGUMENTS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "view": ({"view_range": {"type": "array"}}, ()),
    "create": ({"file_text": _STRING}, ("file_text",)),
    "str_replace": ({"old_str": _STRING, "new_str": _STRING}, ("old_str",)),
    "insert": ({"insert_line": _NUMBER, "insert_text": _STRING}, ("insert_line", "insert_text")),
}
"""Of each command, beside ``command`` and ``path``: its arguments, and which of them have to be there."""

_NOTHING = "(no output)"


def text_editor_tool() -> ToolTextEditor20250728Param:
    """Give the specification for ``tools=[...]``."""
    return {"type": "text_editor_20250728", "name": NAME}


def text_editor_steps(arguments: object, run: Run) -> Steps[ToolOutcome]:
    """Carry one command out."""
    given = _given(arguments)
    if isinstance(given, str):
        return ToolOutcome(given, is_error=True)
    outcome: ToolOutcome = yield from run_steps(CodeCall(_cell(given), "bash"), run)
    if outcome.is_error:
        return outcome
    if given["command"] == "create":
        return ToolOutcome(f"Wrote {given['path']}.") if outcome.text == _NOTHING else outcome
    if given["command"] == "view" and outcome.text == _NOTHING:
        return ToolOutcome("(there is nothing here)")
    if "characters cut here" in outcome.text:
        return replace(outcome, text=outcome.text + "\n[view_range shows the part that was cut]")
    return outcome


def _given(arguments: object) -> dict[str, Any] | str:
    """The arguments, checked for their command; or what is wrong with them."""
    command = {"command": {"type": "string", "enum": list(_ARGUMENTS)}}
    every: dict[str, Any] = {name: kind for own, _ in _ARGUMENTS.values() for name, kind in own.items()}
    given = read_arguments(arguments, _schema(command | {"path": _STRING} | every, ("command", "path")))
    if isinstance(given, str):
        return given
    own, required = _ARGUMENTS[given["command"]]
    command["command"]["enum"] = [given["command"]]
    checked = read_arguments(given, _schema(command | {"path": _STRING} | own, ("command", "path", *required)))
    return checked if isinstance(checked, str) else _wrong_value(checked) or checked


def _schema(properties: dict[str, Any], required: tuple[str, ...]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def _wrong_value(given: dict[str, Any]) -> str | None:
    """What no schema says."""
    if not given["path"].strip():
        return "The path is empty. Give the path of a file or a directory, such as /workspace/app.py."
    if any("\0" in value for value in given.values() if isinstance(value, str)):
        return "A path and a text cannot hold a NUL character."
    if given.get("old_str") == "":
        return "old_str is empty: give the text that is to be replaced, or use the command insert."
    if given.get("insert_line", 0) < 0:
        return "insert_line counts from 0, which is the beginning of the file."
    return _wrong_range(given.get("view_range", [1, -1]))


def _wrong_range(lines: list[Any]) -> str | None:
    numbers = len(lines) == 2 and all(type(line) is int for line in lines)
    if numbers and lines[0] >= 1 and (lines[1] == -1 or lines[1] >= lines[0]):
        return None
    return "view_range is [first, last]: line numbers that count from 1; -1 as last means the end of the file."


def _cell(given: dict[str, Any]) -> str:
    path = given["path"]
    match given["command"]:
        case "view":
            return editor_cells.view(path, given.get("view_range"))
        case "create":
            return editor_cells.create(path, given["file_text"])
        case "str_replace":
            return editor_cells.replace(path, given["old_str"], given.get("new_str", ""))
        case _:
            return editor_cells.insert(path, given["insert_line"], given["insert_text"])
