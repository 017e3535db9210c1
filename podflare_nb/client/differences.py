"""How two sandboxes differ, as plain records: their files, their variables, the cells of their notebooks.

The direction is that of ``one.diff(other)``: what ``other`` has and ``one`` has not is *added*. No input or output
happens here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

WORKSPACE = PurePosixPath("/workspace")
"""Where the paths of ``files`` begin, too."""


@dataclass(frozen=True, slots=True)
class FileDifference:
    """One file. Sizes are in bytes; None where it has none or they are not told."""

    path: str
    size: int | None = None
    other_size: int | None = None
    """Of a modified file: its size in the other sandbox."""


@dataclass(frozen=True, slots=True)
class FileDifferences:
    """Files by path. ``truncated``: there are more than the service lists."""

    added: tuple[FileDifference, ...] = ()
    removed: tuple[FileDifference, ...] = ()
    modified: tuple[FileDifference, ...] = ()
    truncated: bool = False

    def below(self, directories: Iterable[str] | str) -> FileDifferences:
        """Those in or below any of these directories; a path that is not absolute is one of the workspace."""
        roots = [WORKSPACE / one for one in ([directories] if isinstance(directories, str) else directories)]

        def kept(files: tuple[FileDifference, ...]) -> tuple[FileDifference, ...]:
            return tuple(one for one in files if any(PurePosixPath(one.path).is_relative_to(root) for root in roots))

        return replace(self, added=kept(self.added), removed=kept(self.removed), modified=kept(self.modified))


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable as it was told: never its value."""

    name: str
    type: str | None = None
    shape: str | None = None
    """Of arrays and tables, as in ``(3, 4)``; of collections, their length."""
    repr: str | None = None
    """Short."""


@dataclass(frozen=True, slots=True)
class VariableChange:
    """A variable that both have, with what it is in each."""

    name: str
    before: Variable
    after: Variable


@dataclass(frozen=True, slots=True)
class VariableDifferences:
    """Variables by name. ``unknown``: names in both whose values could not be compared."""

    added: tuple[Variable, ...] = ()
    removed: tuple[Variable, ...] = ()
    changed: tuple[VariableChange, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CellDifferences:
    """How many cells of the notebook differ; ``nbdime`` is the difference itself, in nbdime's format."""

    added: int = 0
    removed: int = 0
    modified: int = 0
    nbdime: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Diff:
    """What another sandbox has added, removed and changed. False when nothing differs.

    ``diff["added"]``, ``diff["removed"]`` and ``diff["modified"]`` are the paths of files, as lists.
    """

    files: FileDifferences
    variables: VariableDifferences
    cells: CellDifferences
    raw: dict[str, Any] = field(repr=False)

    def __getitem__(self, name: str) -> list[str]:
        """The paths of the files that were added, removed or modified, sorted."""
        groups = {"added": self.files.added, "removed": self.files.removed, "modified": self.files.modified}
        return sorted(one.path for one in groups[name])

    def __bool__(self) -> bool:
        files, variables, cells = self.files, self.variables, self.cells
        return any(
            (
                files.added, files.removed, files.modified, files.truncated, variables.added, variables.removed,
                variables.changed, variables.unknown, cells.added, cells.removed, cells.modified,
            )
        )  # fmt: skip

    def __str__(self) -> str:
        """The difference in lines, as people read one; what cannot be printed stands as an escape."""
        return "\n".join(map(_printable, self._lines())) or "No difference."

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> Diff:
        """Read what the service answers."""
        return cls(
            files=_files(answer.get("files") or {}),
            variables=_variables(answer.get("variables") or {}),
            cells=_cells(answer.get("cells") or {}),
            raw=dict(answer),
        )

    def only_below(self, directories: Iterable[str] | str) -> Diff:
        """The same without files that are not in or below any of these directories."""
        return replace(self, files=self.files.below(directories))

    def _lines(self) -> Iterable[str]:
        for mark, name in (("+", "added"), ("-", "removed"), ("~", "modified")):
            yield from (f"{mark} {path}" for path in self[name])
        if self.files.truncated:
            yield "  ... and more files"
        yield from (f"+ {_told(one)}" for one in self.variables.added)
        yield from (f"- {_told(one)}" for one in self.variables.removed)
        for change in self.variables.changed:
            yield f"~ {_told(change.before)} -> {change.after.repr or change.after.type}"
        if self.variables.unknown:
            yield f"? {', '.join(self.variables.unknown)}: could not be compared"
        if cells := self.cells.added + self.cells.removed + self.cells.modified:
            yield f"{cells} cells: +{self.cells.added} -{self.cells.removed} ~{self.cells.modified}"


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def _told(variable: Variable) -> str:
    what = f"{variable.name}: {variable.type}" if variable.type else variable.name
    return f"{what} = {variable.repr}" if variable.repr else what


def _files(answer: Mapping[str, Any]) -> FileDifferences:
    def group(name: str) -> tuple[FileDifference, ...]:
        rows = answer.get(name) or ()
        return tuple(FileDifference(str(row["path"]), row.get("size"), row.get("other_size")) for row in rows)

    return FileDifferences(group("added"), group("removed"), group("modified"), bool(answer.get("truncated")))


def _variables(answer: Mapping[str, Any]) -> VariableDifferences:
    changed = (
        VariableChange(
            str(row["name"]),
            _variable({**(row.get("before") or {}), "name": row["name"]}),
            _variable({**(row.get("after") or {}), "name": row["name"]}),
        )
        for row in answer.get("changed") or ()
    )
    return VariableDifferences(
        added=tuple(_variable(row) for row in answer.get("added") or ()),
        removed=tuple(_variable(row) for row in answer.get("removed") or ()),
        changed=tuple(changed),
        unknown=tuple(str(name) for name in answer.get("unknown") or ()),
    )


def _variable(row: Mapping[str, Any]) -> Variable:
    shape = row.get("shape")
    if isinstance(shape, list):
        shape = f"({', '.join(str(length) for length in shape)}{',' if len(shape) == 1 else ''})"
    return Variable(str(row["name"]), row.get("type"), None if shape is None else str(shape), row.get("repr"))


def _cells(answer: Mapping[str, Any]) -> CellDifferences:
    summary = answer.get("summary")
    counts = summary if isinstance(summary, dict) else answer

    def count(name: str) -> int:
        value = counts.get(name)
        return value if isinstance(value, int) else 0

    return CellDifferences(count("added"), count("removed"), count("modified"), answer.get("diff"))
