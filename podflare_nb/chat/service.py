"""The chat service: starts turns, finds them, cancels them, and hands a person's approvals to them.

One turn at a time per sandbox. A turn runs as a task of the server until its end; HTTP streams only follow it.
Above stand the handlers; below, ``writer`` (cells and events), ``conversation`` (which agent works, and what it
knows of earlier turns), ``register`` (which turns are held).
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from ..errors import ConflictError, GoneError, PodflareError
from .agents import Agents
from .approval import Decision
from .event_log import EventLog
from .limits import TurnLimits, TurnRequest, check_request
from .models import ModelChoice, available, choose, default_model
from .ports import Sandbox, Transcript
from .register import TurnRegister, recorded_summary
from .turn import Ending, Turn
from .writer import TurnWriter

log = logging.getLogger(__name__)

_INTERNAL = "The turn failed by an error inside the service, which is in its log. Send the message again."


class ChatService:
    """``env`` holds keys and base URLs of models; ``model`` is the configured default (``provider:name``)."""

    def __init__(
        self,
        *,
        env: Mapping[str, str] | None = None,
        model: str | None = None,
        limits: TurnLimits | None = None,
        clock: Callable[[], float] = time.time,
        new_hex: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._env = dict(os.environ if env is None else env)
        self._configured = model
        self._limits = limits or TurnLimits()
        self._clock = clock
        self._new_hex = new_hex
        self._agents = Agents(self._limits, lambda: f"call_{new_hex()}")
        self._register = TurnRegister()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<ChatService {state}, default {self.default_model}, {len(self._tasks)} turns running>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def default_model(self) -> str:
        """The model of a request that names none."""
        return default_model(self._env, self._configured)

    def available_models(self) -> list[dict[str, str]]:
        """Models to choose from, as ``{"name", "label"}``."""
        return available(self._env, self._configured)

    def warm(self) -> None:
        """Import what a model needs, in a thread, if the default is a model: the first turn does not wait for it."""
        self._agents.warm(self.default_model, self._env)

    def start(self, sandbox: Sandbox, transcript: Transcript, request: TurnRequest, principal: str) -> Turn:
        """Start a turn and return at once; ``turn.events()`` tells what it does.

        Raises InvalidArgumentError and TooLargeError for the request, ConflictError while another turn of this
        sandbox runs (``details["turn_id"]``), GoneError when the service is closing.
        """
        if self._closed:
            raise GoneError("the service is shutting down", reason="shutdown")
        check_request(request, self._limits)
        name = request.model or self.default_model
        choice = choose(name, self._env)
        if (running := self._register.running(sandbox.id)) is not None:
            raise ConflictError(
                f"turn {running.id} is running in this sandbox: wait for its end or cancel it",
                turn_id=running.id,
            )
        turn = self._new_turn(sandbox.id, choice.name if choice else name, request, principal)
        self._register.add(turn)
        task = asyncio.create_task(self._run(turn, sandbox, transcript, request, choice), name=turn.id)
        self._tasks[turn.id] = task
        return turn

    def turn(self, sandbox_id: str, turn_id: str) -> Turn:
        """A turn that runs, or whose events are still held. Raises NotFoundError."""
        return self._register.get(sandbox_id, turn_id)

    async def turns(self, sandbox_id: str, transcript: Transcript) -> list[dict[str, Any]]:
        """All turns of a sandbox, oldest first, those of before a restart included, as the API lists them."""
        held = {turn.id: turn for turn in self._register.of(sandbox_id)}
        listed = [
            held.pop(recorded.turn_id).summary() if recorded.turn_id in held else recorded_summary(recorded)
            for recorded in await transcript.turns()
        ]
        return listed + [turn.summary() for turn in held.values()]

    def cancel(self, sandbox_id: str, turn_id: str, principal: str) -> None:
        """Stop the agent and interrupt its code; the end comes as an event. No effect on a turn that is over.

        Raises NotFoundError.
        """
        self._cancel(self.turn(sandbox_id, turn_id), principal)

    def approve(self, sandbox_id: str, turn_id: str, tool_call_id: str, *, approved: bool, principal: str) -> None:
        """A person's answer to an approval-request. Raises NotFoundError, and ConflictError for a second answer."""
        self.turn(sandbox_id, turn_id).approvals.decide(tool_call_id, Decision(approved, principal))

    async def forget(self, sandbox_id: str) -> None:
        """The sandbox is closing: end its turn, and let go of everything held for it. Idempotent."""
        running = self._register.running(sandbox_id)
        if running is not None:
            self._cancel(running, None)
            await running.wait()
        self._register.forget(sandbox_id)
        self._agents.forget(sandbox_id)

    async def aclose(self) -> None:
        """End all turns, with their ends recorded, and close the connections to models. Idempotent."""
        self._closed = True
        for turn in self._register.all_running():
            self._cancel(turn, None)
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()))
        await self._agents.aclose()

    def _new_turn(self, sandbox_id: str, model: str, request: TurnRequest, principal: str) -> Turn:
        seconds = request.timeout_seconds or self._limits.timeout_seconds
        return Turn(
            id=f"turn_{self._new_hex()}",
            sandbox_id=sandbox_id,
            message=request.message,
            model=model,
            principal=principal,
            operator=request.operator,
            approve=request.approve,
            started_at=datetime.fromtimestamp(self._clock(), UTC),
            deadline=asyncio.get_running_loop().time() + seconds,
            log=EventLog(lambda: int(self._clock() * 1000)),
        )

    async def _run(
        self,
        turn: Turn,
        sandbox: Sandbox,
        transcript: Transcript,
        request: TurnRequest,
        choice: ModelChoice | None,
    ) -> None:
        """The turn's whole life. Whatever happens in it, it has an end that is recorded and told."""
        turn.begun = True
        writer = TurnWriter(turn, sandbox, transcript, self._limits, asyncio.get_running_loop().time)
        try:
            ending = await self._work(writer, transcript, request, choice)
            turn.cancelling = True  # it is ending: a cancel that comes now must not break that off
            await writer.settle()
            writer.end(ending)
            self._agents.remember(turn.sandbox_id, writer.past)
        except Exception:
            log.exception("the end of %s could not be recorded", turn.id)
        finally:
            turn.ending = turn.ending or _cancelled(turn)
            turn.ended_at = datetime.fromtimestamp(self._clock(), UTC)
            turn.log.close()
            turn.over.set()
            self._tasks.pop(turn.id, None)
            self._register.ended(turn)

    async def _work(
        self, writer: TurnWriter, transcript: Transcript, request: TurnRequest, choice: ModelChoice | None
    ) -> Ending:
        """Let the agent work, within the turn's time; whatever it raises is made an ending."""
        turn = writer.turn
        deadline = asyncio.timeout_at(turn.deadline)
        try:
            if turn.cancelling:  # before the task had its first step
                return _cancelled(turn)
            async with deadline:
                others = tuple(model["name"] for model in self.available_models())
                return await self._agents.run(writer, transcript, request, choice, others)
        except Exception as error:  # noqa: BLE001  # each becomes the turn's recorded end, unknown ones are logged
            return _ending_of(error, turn, request, self._limits, expired=deadline.expired())
        except asyncio.CancelledError:
            return _cancelled(turn)

    def _cancel(self, turn: Turn, principal: str | None) -> None:
        task = self._tasks.get(turn.id)
        if task is not None and not turn.cancelling:
            turn.cancelling = True
            turn.cancelled_by = principal
            if turn.begun:  # a task that is cancelled before its first step would never record its end
                task.cancel()


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
