"""Runs turns: each is a task of the server that goes on to its end, whoever follows it or not.

Whatever happens in a turn, it has an end that is recorded and told: this is the only place that turns exceptions
into endings. Above, ``service`` decides what may run; below, ``agents`` works and ``writer`` records.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime

from ..errors import PodflareError
from .agents import Agents, Assignment
from .limits import TurnLimits, TurnRequest
from .models import ModelChoice
from .ports import Branching, Sandbox, Transcript
from .turn import Ending, Turn
from .turn_branches import TurnBranches
from .writer import TurnWriter

OWN_SANDBOX: ContextVar[str | None] = ContextVar("own_sandbox", default=None)
"""Within a turn and the tasks that it starts: the sandbox that it works in."""

log = logging.getLogger(__name__)

_INTERNAL = "The turn failed by an error inside the service, which is in its log. Send the message again."


class TurnRunner:
    """``models`` are the names that a user could choose; ``on_end`` is told of every turn that is over."""

    def __init__(
        self,
        agents: Agents,
        limits: TurnLimits,
        clock: Callable[[], float],
        models: Callable[[], tuple[str, ...]],
        on_end: Callable[[Turn], None],
    ) -> None:
        self._agents = agents
        self._limits = limits
        self._clock = clock
        self._models = models
        self._on_end = on_end
        self.branching: Branching | None = None
        """Set once the service can fork sandboxes."""
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __repr__(self) -> str:
        return f"<TurnRunner {len(self._tasks)} running>"

    def start(
        self,
        turn: Turn,
        sandbox: Sandbox,
        transcript: Transcript,
        request: TurnRequest,
        choice: ModelChoice | None,
    ) -> None:
        """Start the turn's task."""
        writer = TurnWriter(turn, sandbox, transcript, self._limits, asyncio.get_running_loop().time)
        branches = TurnBranches(self.branching, writer, self._limits) if self.branching else None
        work = Assignment(writer, transcript, request, choice, branches)
        task = asyncio.create_task(self._run(work), name=turn.id)
        self._tasks[turn.id] = task

    def cancel(self, turn: Turn, principal: str | None) -> None:
        """Stop a turn; its end comes as an event. No effect on one that is ending or over."""
        task = self._tasks.get(turn.id)
        if task is not None and not turn.cancelling:
            turn.cancelling = True
            turn.cancelled_by = principal
            if turn.begun:  # a task that is cancelled before its first step would never record its end
                task.cancel()

    async def settle(self) -> None:
        """Wait until no turn runs."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    async def _run(self, work: Assignment) -> None:
        """The turn's whole life."""
        writer, turn = work.writer, work.writer.turn
        turn.begun = True
        OWN_SANDBOX.set(turn.sandbox_id)
        try:
            ending = await self._work(work)
            turn.cancelling = True  # it is ending: a cancel that comes now must not break that off
            await writer.settle()
            if work.branches is not None:
                await work.branches.close()
            writer.end(ending)
            writer.sandbox.turn_ended(turn.id)
            self._agents.remember(turn.sandbox_id, writer.past)
        except Exception:
            log.exception("the end of %s could not be recorded", turn.id)
        finally:
            turn.ending = turn.ending or _cancelled(turn)
            turn.ended_at = datetime.fromtimestamp(self._clock(), UTC)
            turn.log.close()
            turn.over.set()
            self._tasks.pop(turn.id, None)
            self._on_end(turn)

    async def _work(self, work: Assignment) -> Ending:
        """Let the agent work, within the turn's time; whatever it raises is made an ending."""
        turn = work.writer.turn
        deadline = asyncio.timeout_at(turn.deadline)
        try:
            if turn.cancelling:  # before the task had its first step
                return _cancelled(turn)
            async with deadline:
                return await self._agents.run(work, self._models())
        except Exception as error:  # noqa: BLE001  # each becomes the turn's recorded end, unknown ones are logged
            return _ending_of(error, turn, work.request, self._limits, expired=deadline.expired())
        except asyncio.CancelledError:
            return _cancelled(turn)


def _cancelled(turn: Turn) -> Ending:
    by = f" by {turn.cancelled_by}" if turn.cancelled_by else ", because the sandbox or the service ended"
    return Ending("cancelled", f"Cancelled{by}.")


def _ending_of(error: Exception, turn: Turn, request: TurnRequest, limits: TurnLimits, *, expired: bool) -> Ending:
    """The end of a turn whose agent raised."""
    if isinstance(error, TimeoutError) and expired:
        seconds = request.timeout_seconds or limits.timeout_seconds
        said = f"Stopped at the limit of {seconds:g} seconds. Send a message to go on."
        return Ending("limit", said, limit="seconds")
    if isinstance(error, PodflareError):
        return Ending("error", error.message, error.code)
    log.error("%s failed", turn.id, exc_info=error)
    return Ending("error", _INTERNAL, "internal")
