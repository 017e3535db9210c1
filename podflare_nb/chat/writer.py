"""What a turn does becomes cells of the notebook and events of the stream, both from here and in one order.

Agents (``direct``, ``agent``) call ``text`` and ``run``; they know neither transcript nor events. Code cells are
recorded by the sandbox's observer (a branch's, in the branch's own notebook), under the id that is chosen here;
markdown cells are recorded here. What is told to a client has been recorded before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from ..protocol.observation import Observation, Observed
from ..protocol.provenance import Provenance
from ..protocol.states import CellRole, Language
from ..sandboxes.execution import Execution, ExecutionRequest, ExecutionResult
from .approval import Decision
from .branch import Branch
from .event_log import EventLog
from .events import EventType
from .history import PastRun, PastText, PastTurn
from .limits import TurnLimits
from .ports import Sandbox, Transcript
from .turn import Ending, Turn, Usage

log = logging.getLogger(__name__)


class TurnWriter:
    """The one writer of a turn. Only ``run`` may be called by several tasks at once, each for a branch of its own;
    ``settle`` comes after the agent has stopped.
    """

    def __init__(
        self,
        turn: Turn,
        sandbox: Sandbox,
        transcript: Transcript,
        limits: TurnLimits,
        loop_time: Callable[[], float],
    ) -> None:
        self.turn = turn
        self.sandbox = sandbox
        self.past = PastTurn(turn.id, turn.message)
        self._transcript = transcript
        self._limits = limits
        self._loop_time = loop_time
        self._begun = False
        self._text_cell: str | None = None
        self._text: list[str] = []
        self._running: dict[asyncio.Task[Observed], Execution] = {}
        self._asking = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<TurnWriter of {self.turn.id}>"

    def begin(self, shown_message: str) -> None:
        """Record and tell the user's message. ``shown_message`` is the message as markdown."""
        turn = self.turn
        self._begun = True
        cell_id = self._transcript.begin_turn(
            turn.id,
            shown_message,
            principal=turn.principal,
            operator=turn.operator,
            model=turn.model_record,
        )
        turn.log.append("turn-start", {"turn_id": turn.id, "message": turn.message, "model": turn.model})
        _markdown_started(self.turn.log, cell_id, "user", shown_message)
        _markdown_ended(self.turn.log, cell_id)

    def text(self, piece: str) -> None:
        """A piece of what the agent says; pieces make one markdown cell until code runs or ``end_text``."""
        if self._text_cell is None:
            piece = piece.lstrip()
            if not piece:
                return
            self._text_cell = self._transcript.add_markdown(
                self.turn.id, "assistant", operator=self.turn.operator, model=self.turn.model_record
            )
            _markdown_started(self.turn.log, self._text_cell, "assistant", "")
        if piece:
            self._transcript.append_markdown(self._text_cell, piece)
            self._text.append(piece)
            self.turn.log.append("text-delta", {"cell_id": self._text_cell, "text": piece})

    def end_text(self) -> None:
        """End the markdown cell that is being written, if there is one."""
        if self._text_cell is not None:
            _markdown_ended(self.turn.log, self._text_cell)
            self.past.steps.append(PastText("".join(self._text)))
            self._text_cell = None
            self._text = []

    def say(self, text: str) -> None:
        """A markdown cell of its own."""
        self.end_text()
        self.text(text)
        self.end_text()

    def note(self, event: EventType, told: Mapping[str, Any], text: str) -> None:
        """A line of the notebook that says what was done with branches, and its event."""
        self.end_text()
        turn = self.turn
        cell_id = self._transcript.add_markdown(turn.id, "tool", text, operator=turn.operator, model=turn.model_record)
        turn.log.append(event, {**told, "cell_id": cell_id})
        _markdown_started(turn.log, cell_id, "tool", text)
        _markdown_ended(turn.log, cell_id)
        self.past.steps.append(PastText(text))

    def used(self, usage: Usage) -> None:
        """What the model has used until now, over the whole turn."""
        if usage != self.turn.usage:
            self.turn.usage = usage
            self.turn.log.append("usage", usage.as_dict())

    async def approval(
        self, source: str, language: Language, tool_call_id: str, branch: Branch | None = None
    ) -> Decision | None:
        """Wait for a person's yes or no; None when this turn does not ask. A no is said in the notebook.

        One question at a time, also when runs of several branches wait.
        """
        self.end_text()
        if self.turn.approve != "ask":
            return None
        async with self._asking:
            return await self._ask(source, language, tool_call_id, branch)

    async def _ask(self, source: str, language: Language, tool_call_id: str, branch: Branch | None) -> Decision:
        future = self.turn.approvals.open(tool_call_id)
        try:
            request = {"tool_call_id": tool_call_id, "source": source, "language": language} | _in_branch(branch)
            self.turn.log.append("approval-request", request)
            decision = await future
        finally:
            self.turn.approvals.close(tool_call_id)
        told = {"tool_call_id": tool_call_id, "approved": decision.approved, "by": decision.by}
        self.turn.log.append("approval-end", told)
        if not decision.approved:
            self.say(f"*Not run, because {decision.by} did not approve it:*\n\n{fenced(source, language)}")
        return decision

    async def run(
        self,
        code: str,
        language: Language,
        tool_call_id: str,
        decision: Decision | None = None,
        branch: Branch | None = None,
    ) -> Observed:
        """Run code in the sandbox, or in a branch of it, as a cell, and tell its outputs as they come.

        When the caller is cancelled, the run goes on until ``settle`` interrupts it, so that its end is recorded.
        """
        self.end_text()
        cell_id = self._transcript.new_cell_id()
        sandbox = branch.sandbox if branch else self.sandbox
        execution = await sandbox.execute(self._request(code, language, tool_call_id, cell_id, decision))
        started = {
            "cell_id": cell_id,
            "cell_type": "code",
            "role": "tool",
            "source": execution.source,
            "language": language,
            "tool_call_id": tool_call_id,
        }
        self.turn.log.append("cell-start", started | _in_branch(branch))
        running = asyncio.create_task(self._follow(execution, branch), name=f"{self.turn.id}-{cell_id}")
        self._running[running] = execution
        running.add_done_callback(self._running.pop)
        running.add_done_callback(_log_failure)
        return await asyncio.shield(running)

    async def settle(self) -> None:
        """End the code that still runs after the agent was stopped, and wait for its end, with a bound."""
        running = dict(self._running)
        if not running:
            return
        for execution in running.values():
            execution.cancel()
        _, late = await asyncio.wait(running, timeout=self._limits.stop_grace_seconds)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
            self.say("*The code did not stop when it was interrupted. It may still run in the kernel.*")

    def end(self, ending: Ending) -> None:
        """The last record and the last events: afterwards the turn is over."""
        turn = self.turn
        turn.ending = ending
        self.past.note = ending.message if ending.status != "ok" else None
        usage = turn.usage.as_dict() if turn.usage.requests else None
        try:
            if not self._begun:
                self.begin(turn.message)
            self.end_text()
            self._transcript.end_turn(turn.id, ending.status, usage=usage, error=ending.message)
        finally:
            _tell_end(turn, ending, usage)

    def _request(
        self, code: str, language: Language, tool_call_id: str, cell_id: str, decision: Decision | None
    ) -> ExecutionRequest:
        """The run ends with the turn: past its deadline and the grace of an interrupt, the sandbox kills it."""
        turn = self.turn
        provenance = Provenance(
            role="tool",
            principal=turn.principal,
            operator=turn.operator,
            turn_id=turn.id,
            tool_call_id=tool_call_id,
            model=turn.model_record,
            approved_by=decision.by if decision else None,
        )
        left = max(turn.deadline - self._loop_time(), 0.0) + self._limits.stop_grace_seconds / 2
        return ExecutionRequest(code, language, left, provenance, cell_id)

    async def _follow(self, execution: Execution, branch: Branch | None) -> Observed:
        """Pass the outputs on to the stream and to the model's view of them, until the run has ended."""
        cell_id = execution.cell_id
        observation = Observation(self._limits.result_characters)
        result: ExecutionResult | None = None
        try:
            async for output in execution.outputs():
                observation.add(output)
                self.turn.log.append("cell-output", {"cell_id": cell_id, "output": output})
            result = await execution.result()
            notices = (*execution.notices, *execution.refusals)
            for notice in notices:
                told = {"code": notice.code, "message": notice.message, "cell_id": cell_id}
                self.turn.log.append("notice", told)
            observed = observation.finish(result, [notice.message for notice in notices])
            request = execution.request
            call_id = request.provenance.tool_call_id or cell_id
            name = branch.name if branch else None
            self.past.steps.append(PastRun(request.code, request.language, observed.text, call_id, name))
            return observed
        finally:
            self.turn.log.append("cell-end", {"cell_id": cell_id} | _how_it_ended(result))


def _markdown_started(log: EventLog, cell_id: str, role: CellRole, source: str) -> None:
    log.append("cell-start", {"cell_id": cell_id, "cell_type": "markdown", "role": role, "source": source})


def _markdown_ended(log: EventLog, cell_id: str) -> None:
    log.append("cell-end", {"cell_id": cell_id, "status": "ok"})


def _log_failure(task: asyncio.Task[Observed]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.info("%s ended with an error", task.get_name(), exc_info=error)


def _in_branch(branch: Branch | None) -> dict[str, Any]:
    """What events of a run in a branch say in addition."""
    return {"branch": branch.as_dict()} if branch else {}


def _tell_end(turn: Turn, ending: Ending, usage: dict[str, int] | None) -> None:
    if ending.code is not None:
        turn.log.append("turn-error", {"code": ending.code, "message": ending.message})
    data = {"turn_id": turn.id, "status": ending.status, "usage": usage}
    if ending.message is not None:
        data["message"] = ending.message
    if ending.limit is not None:
        data["limit"] = ending.limit
    turn.log.append("turn-end", data)


def fenced(code: str, language: str) -> str:
    """Code as a markdown block whose fence is longer than any in the code."""
    fence = "```"
    while fence in code:
        fence += "`"
    return f"{fence}{language}\n{code.rstrip()}\n{fence}"


def _how_it_ended(result: ExecutionResult | None) -> dict[str, object]:
    if result is None:
        return {"status": "interrupted", "message": "The end of this run was not seen."}
    told: dict[str, object] = {
        "status": result.status,
        "execution_count": result.execution_count,
        "exit_code": result.exit_code,
    }
    if result.message is not None:
        told["message"] = result.message
    if not result.state_preserved:
        told["state_preserved"] = False
    if result.truncation is not None:
        told["truncated"] = {
            "produced_bytes": result.truncation.produced_bytes,
            "kept_bytes": result.truncation.kept_bytes,
        }
    return told
