"""Installing packages in a sandbox: by cells that its user could have written, so that its notebook does it again.

A step is one package manager's cell, run as any execution. What is asked for are names with versions, each checked
here and quoted: no options, addresses, paths or shell.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from ..errors import InvalidArgumentError
from ..protocol.packages import Manager
from ..protocol.requirements import debian_package, requirement
from .exec_events import Event, EventEncoder, follow
from .execution import Execution

_NPM = re.compile(
    r"(@[a-z0-9~][a-z0-9._~-]*/)?[A-Za-z0-9~][A-Za-z0-9._~-]*(@[A-Za-z0-9^~<>=*][A-Za-z0-9.^~<>=*+ |-]*)?",
)
_COMMANDS = {
    "apt": "apt-get update -qq && apt-get install -y --no-install-recommends --",
    "python": "python -m pip install --progress-bar off --",
    "npm": "npm install --no-audit --no-fund --",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One package manager's part. ``code``: a bash cell."""

    manager: Manager
    code: str


def steps(
    *, apt: Sequence[str] | None = None, python: Sequence[str] | None = None, npm: Sequence[str] | None = None
) -> list[Step]:
    """What is to be run for these packages, in this order. Raises InvalidArgumentError that names the wrong one."""
    wanted: dict[Manager, Sequence[str]] = {"apt": apt or (), "python": python or (), "npm": npm or ()}
    found = [Step(manager, _command(manager, names)) for manager, names in wanted.items() if names]
    if not found:
        raise InvalidArgumentError("Name at least one package, in python, apt or npm.")
    return found


def _command(manager: Manager, names: Iterable[str]) -> str:
    checked = [_CHECKS[manager](name.strip()) for name in names]
    return " ".join([_COMMANDS[manager], *map(shlex.quote, checked)])


def _npm(name: str) -> str:
    if not _NPM.fullmatch(name):
        raise InvalidArgumentError(
            f"npm has {name[:80]!r}; it must be a package such as 'left-pad@^1.3'; options, paths and addresses are "
            "not taken.",
            field="npm",
        )
    return name


_CHECKS: dict[Manager, Callable[[str], str]] = {"apt": debian_package, "python": requirement, "npm": _npm}


class Installation:
    """Steps on their way. ``begin``, read ``events`` once to the end, and ``cancel`` whatever happens.

    ``start`` begins an execution of a bash cell; ``now``: in milliseconds since the epoch.
    """

    def __init__(
        self, wanted: Sequence[Step], start: Callable[[str], Awaitable[Execution]], now: Callable[[], int]
    ) -> None:
        self._steps = list(wanted)
        self._start = start
        self._now = now
        self._execution: Execution | None = None
        self._seq = 0
        self._ends: dict[str, dict[str, object]] = {}

    async def begin(self) -> None:
        """Start the first step. Raises what an execution may raise."""
        self._execution = await self._start(self._steps[0].code)

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        if self._execution is not None:
            self._execution.cancel()

    async def events(self) -> AsyncIterator[list[Event]]:
        """What happens, in groups; the last of the last one is the exit. A step after one that failed is skipped."""
        end: Event = {}
        for number, step in enumerate(self._steps):
            if number:
                if end["data"] != 0:
                    yield [self._skipped(each) for each in self._steps[number:]]
                    break
                self._execution = await self._start(step.code)
            assert self._execution is not None  # noqa: S101 - begun
            cell_id = self._execution.cell_id
            yield [self._progress(step, {"status": "running", "cell_id": cell_id})]
            encoder = EventEncoder("bash", first=self._seq)
            async for events in follow(self._execution, encoder):
                if events[-1]["type"] == "exit":
                    end = events.pop()
                if events:
                    self._seq = events[-1]["seq"] + 1
                    yield events
            yield [self._ended(step, end)]
        yield [{**end, "seq": self._next(), "managers": self._ends}]

    def _ended(self, step: Step, end: Event) -> Event:
        told = {"status": end["status"], "exit_code": end["data"], "cell_id": end["cell_id"]}
        if "message" in end:
            told["message"] = end["message"]
        self._ends[step.manager] = told
        return self._progress(step, told)

    def _skipped(self, step: Step) -> Event:
        self._ends[step.manager] = {"status": "skipped"}
        return self._progress(step, {"status": "skipped"})

    def _progress(self, step: Step, told: dict[str, object]) -> Event:
        return {"type": "manager", "data": {"manager": step.manager, **told}, "seq": self._next(), "ts": self._now()}

    def _next(self) -> int:
        seq, self._seq = self._seq, self._seq + 1
        return seq
