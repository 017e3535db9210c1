"""Installing packages: what clients ask for, and the events that tell how it goes.

The events are those of ``exec``; beside them, one tells when a package manager begins and ends, and the exit has how
each of them ended.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .exec_events import ErrorEvent, ExitEvent, NetworkEvent, NoticeEvent, StderrEvent, StdoutEvent, StreamEvent
from .requests import ExecutionOptions
from .responses import Response
from .states import ExecutionStatus

MAX_PACKAGES = 100
PackageName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Manager = Literal["apt", "python", "npm"]


def _packages(examples: str) -> object:
    return Field(
        max_length=MAX_PACKAGES,
        description=f"a list of at most {MAX_PACKAGES} strings of at most 200 characters, such as {examples}",
    )


class InstallPackages(ExecutionOptions):
    """``POST /v1/sandboxes/{id}/packages``. Installed are apt's packages first, then Python's, then npm's."""

    python: Annotated[list[PackageName] | None, _packages("'polars>=1.0'")] = None
    apt: Annotated[list[PackageName] | None, _packages("'graphviz' or 'jq=1.6-2'")] = None
    npm: Annotated[list[PackageName] | None, _packages("'left-pad' or '@types/node@20'")] = None


class ManagerResult(Response):
    """How a package manager ended; ``skipped``: one before it had failed. ``exit_code`` is its own."""

    status: ExecutionStatus | Literal["skipped"]
    exit_code: int | None = None
    cell_id: str | None = None
    message: str | None = None


class ManagerProgress(Response):
    """A package manager that begins (``running``) or has ended."""

    manager: Manager
    status: ExecutionStatus | Literal["running", "skipped"]
    exit_code: int | None = None
    cell_id: str | None = None
    message: str | None = None


class ManagerEvent(StreamEvent):
    """Progress."""

    type: Literal["manager"]
    data: ManagerProgress


class InstallExitEvent(ExitEvent):
    """The end: as an execution's, of the manager that failed or else the last one; and how each of them ended."""

    managers: dict[Manager, ManagerResult]


InstallEvent = Annotated[
    StdoutEvent | StderrEvent | ErrorEvent | NoticeEvent | NetworkEvent | ManagerEvent | InstallExitEvent,
    Field(discriminator="type"),
]
