"""What a person types into ``podflare-nb chat`` about branches: /fork, /branches, /switch, /diff, /merge, /rewind.

A client of the branches' HTTP calls; every answer is a few lines of text. A branch is named by its number in
/branches, by its id, or by the beginning of its id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import typer

from ..errors import InvalidArgumentError
from . import tables
from .api import Api
from .family_tree import arranged, parent_of
from .turn_printer import CONTROL

Row = dict[str, Any]
SHOWN_FILES = 20
_MARKS = (("+", "added"), ("-", "removed"), ("~", "modified"))


@dataclass(frozen=True, slots=True)
class Command:
    """One command: what may follow its name, what it does, and the method that does it."""

    argument: str
    meaning: str
    act: Callable[[str], None]


class BranchCommands:
    """The commands of one conversation. ``sandbox``: the branch that is talked to now."""

    def __init__(self, api: Api, sandbox: str) -> None:
        self._api = api
        self.sandbox = sandbox
        self._commands = {
            "/fork": Command("[n]", "make n branches of this sandbox (1)", self._fork),
            "/branches": Command("", "show the family, and the turns to rewind to", self._branches),
            "/switch": Command("BRANCH", "talk to another branch", self._switch),
            "/diff": Command("BRANCH", "what that branch has and this one has not", self._diff),
            "/merge": Command("[BRANCH]", "become that branch; or merge this one into where it came from", self._merge),
            "/rewind": Command("TURN", "go back to the state after that turn", self._rewind),
            "/help": Command("", "show this", self._help),
        }

    def run(self, message: str) -> bool:
        """Carry a message out if it is a command; gives whether it was one. Raises PodflareError."""
        name, _, argument = message.strip().partition(" ")
        command = self._commands.get(name)
        if command is None:
            return False
        command.act(argument.strip())
        return True

    def live(self) -> list[str]:
        """List the ids of the family's live branches."""
        return [row["id"] for row in self._family()["branches"] if row["state"] != "closed"]

    def _fork(self, argument: str) -> None:
        if argument and not argument.isdecimal():
            raise InvalidArgumentError(f"/fork takes a number of branches, not {argument!r}.")
        answer = self._api.call("POST", f"sandboxes/{self.sandbox}/fork", {"n": int(argument or 1)})
        for sentence in (*answer["warnings"], *answer["failures"]):
            typer.secho(_plain(sentence), fg=typer.colors.YELLOW)
        self._show(only=answer["children"])
        typer.echo("/switch takes you to one of them.")

    def _branches(self, _: str) -> None:
        checkpoints = self._show()
        for number, row in enumerate(checkpoints, 1):
            typer.echo(f"rewind {number}: turn {row['turn_id']}, {tables.moment(row['at'])}")

    def _switch(self, argument: str) -> None:
        row = self._named(argument, "/switch")
        if row["state"] == "closed":
            raise InvalidArgumentError(f"{row['id']} has ended; its notebook: podflare-nb export {row['id']}")
        self.sandbox = row["id"]
        typer.echo(f"You talk to {self.sandbox} now.")

    def _diff(self, argument: str) -> None:
        other = self._named(argument, "/diff")["id"]
        difference = self._api.call("POST", f"sandboxes/{self.sandbox}/diff", {"other": other})
        for line in list(_lines(difference)) or ["No difference."]:
            typer.echo(_plain(line))

    def _merge(self, argument: str) -> None:
        if argument:
            parent, winner = self.sandbox, self._named(argument, "/merge")["id"]
        else:
            winner = self.sandbox
            rows = {row["id"]: row for row in self._family()["branches"]}
            if (found := parent_of(rows[winner])) is None:
                raise InvalidArgumentError(
                    "This sandbox was not forked from another; name the branch to merge into it."
                )
            parent = found
        self._api.call("POST", f"sandboxes/{parent}/merge_into/{winner}")
        self.sandbox = parent
        typer.echo(f"{parent} is what {winner} was; you talk to it now.")

    def _rewind(self, argument: str) -> None:
        rows = self._family()["checkpoints"]
        if not rows:
            raise InvalidArgumentError("Nothing is kept to rewind to: podflare-nb chat --checkpoints 10 keeps it.")
        turn_id = _chosen(argument, [row["turn_id"] for row in rows], "turn", "/rewind")
        answer = self._api.call("POST", f"sandboxes/{self.sandbox}/rewind", {"turn_id": turn_id})
        typer.echo(f"Back after turn {turn_id}; the way not taken is {answer['branch']}.")

    def _help(self, _: str) -> None:
        for name, command in self._commands.items():
            typer.echo(f"{f'{name} {command.argument}':<18} {command.meaning}")
        typer.echo(f"{'/quit':<18} end")

    def _family(self) -> dict[str, list[Row]]:
        family: dict[str, list[Row]] = self._api.call("GET", f"sandboxes/{self.sandbox}/branches")
        return family

    def _named(self, argument: str, command: str) -> Row:
        rows = {row["id"]: row for row in self._family()["branches"]}
        return rows[_chosen(argument, list(rows), "branch", command)]

    def _show(self, only: list[str] | None = None) -> list[Row]:
        """Print the family, or some of it; gives what can be rewound to."""
        family = self._family()
        numbers = {row["id"]: number for number, row in enumerate(family["branches"], 1)}
        for lines, row in arranged(family["branches"]):
            if only is None or row["id"] in only:
                here = "*" if row["id"] == self.sandbox else " "
                told = _state(row) + (f"  {row['title']}" if row.get("title") else "")
                typer.echo(_plain(f"{here}{numbers[row['id']]:>3}  {'' if only else lines}{row['id']}  {told}"))
        return family["checkpoints"]


def _chosen(argument: str, names: list[str], kind: str, command: str) -> str:
    """Find what a person means: a number in the list, a name, or the beginning of just one name."""
    if argument in names:
        return argument
    if argument.isdecimal() and 1 <= int(argument) <= len(names):
        return names[int(argument) - 1]
    found = [name for name in names if argument and name.startswith(argument)]
    if len(found) != 1:
        raise InvalidArgumentError(f"{command} takes a {kind} as /branches shows it: its number or its id.")
    return found[0]


def _state(row: Row) -> str:
    if row.get("merged_into"):
        return f"merged into {row['merged_into']}"
    return f"{row['state']} ({row['end_reason']})" if row.get("end_reason") else str(row["state"])


def _lines(difference: dict[str, Any]) -> Iterator[str]:
    files, variables, cells = difference["files"], difference["variables"], difference["cells"]
    told = [f"{mark} {one['path']}" for mark, name in _MARKS for one in files.get(name) or ()]
    yield from told[:SHOWN_FILES]
    if files.get("truncated"):
        yield "  ... and more files"
    elif len(told) > SHOWN_FILES:
        yield f"  ... and {len(told) - SHOWN_FILES} more files"
    for mark, name in _MARKS[:2]:
        yield from (f"{mark} {one['name']}: {_value(one)}" for one in variables.get(name) or ())
    for one in variables.get("changed") or ():
        yield f"~ {one['name']}: {_value(one['before'])} -> {_value(one['after'])}"
    for one in variables.get("unknown") or ():
        yield f"? {one}: could not be compared"
    if any(counts := [cells.get(name) or 0 for _, name in _MARKS]):
        yield "cells: " + ", ".join(f"{count} {name}" for count, (_, name) in zip(counts, _MARKS, strict=True))


def _value(one: dict[str, Any]) -> str:
    return str(one.get("repr") or one.get("type") or "?")


def _plain(text: str) -> str:
    """What a kernel says must not steer the terminal."""
    return CONTROL.sub("", text)
