"""The chat service: starts turns, finds them, cancels them, and hands a person's approvals to them.

One turn at a time per sandbox. Above stand the handlers, which only follow a turn; below, ``runner`` (the life of
a turn), ``agents`` (who works, and what it knows of earlier turns), ``register`` (which turns are held).
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from ..errors import ConflictError, GoneError
from .agents import Agents
from .approval import Decision
from .event_log import EventLog
from .limits import TurnLimits, TurnRequest, check_request
from .models import available, choose, default_model
from .ports import Branches, Branching, Sandbox, Transcript
from .register import TurnRegister, recorded_summary
from .runner import OWN_SANDBOX, TurnRunner
from .turn import Turn


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
        self._runner = TurnRunner(self._agents, self._limits, clock, self._model_names, self._register.ended)
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<ChatService {state}, default {self.default_model}, {self._runner!r}>"

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

    def enable_branches(self, branches: Branches, close: Callable[[str, str], Awaitable[None]]) -> None:
        """From now on agents may fork. ``close`` ends a sandbox of a tenant, by their ids."""
        self._runner.branching = Branching(branches, close)

    def start(self, sandbox: Sandbox, transcript: Transcript, request: TurnRequest, principal: str) -> Turn:
        """Start a turn and return at once; ``turn.events()`` tells what it does.

        Raises InvalidArgumentError and TooLargeError for the request, ConflictError while another turn of this
        sandbox runs (``details["turn_id"]``), GoneError when the service is closing.
        """
        if self._closed:
            raise GoneError("The service is shutting down.", reason="shutdown")
        check_request(request, self._limits)
        name = request.model or self.default_model
        choice = choose(name, self._env)
        self._check_idle(sandbox.id)
        seconds = request.timeout_seconds or self._limits.timeout_seconds
        turn = Turn(
            id=f"turn_{self._new_hex()}",
            sandbox_id=sandbox.id,
            message=request.message,
            model=choice.name if choice else name,
            principal=principal,
            operator=request.operator,
            approve=request.approve,
            started_at=datetime.fromtimestamp(self._clock(), UTC),
            deadline=asyncio.get_running_loop().time() + seconds,
            log=EventLog(lambda: int(self._clock() * 1000)),
        )
        self._register.add(turn)
        self._runner.start(turn, sandbox, transcript, request, choice)
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
        self._runner.cancel(self.turn(sandbox_id, turn_id), principal)

    def approve(self, sandbox_id: str, turn_id: str, tool_call_id: str, *, approved: bool, principal: str) -> None:
        """A person's answer to an approval-request. Raises NotFoundError, and ConflictError for a second answer."""
        self.turn(sandbox_id, turn_id).approvals.decide(tool_call_id, Decision(approved, principal))

    def check_no_turn(self, sandbox_id: str) -> None:
        """Raise ConflictError while a turn runs in this sandbox, unless it is that turn itself that asks.

        For a merge or a rewind: meanwhile the sandbox's state and notebook are its turn's.
        """
        if OWN_SANDBOX.get() != sandbox_id:
            self._check_idle(sandbox_id)

    def notebook_changed(self, sandbox_id: str) -> None:
        """Its notebook was rewound or merged into: let go of earlier turns; the next one reads the notebook."""
        self._register.forget(sandbox_id)
        self._agents.forget(sandbox_id)

    async def forget(self, sandbox_id: str) -> None:
        """The sandbox is closing: end its turn, and let go of everything held for it. Idempotent."""
        running = self._register.running(sandbox_id)
        if running is not None:
            self._runner.cancel(running, None)
            await running.wait()
        self._register.forget(sandbox_id)
        self._agents.forget(sandbox_id)

    async def aclose(self) -> None:
        """End all turns, with their ends recorded, and close the connections to models. Idempotent."""
        self._closed = True
        for turn in self._register.all_running():
            self._runner.cancel(turn, None)
        await self._runner.settle()
        await self._agents.aclose()

    def _check_idle(self, sandbox_id: str) -> None:
        if (running := self._register.running(sandbox_id)) is not None:
            raise ConflictError(
                f"Turn {running.id} is running in this sandbox. Wait for its end or cancel it.",
                turn_id=running.id,
            )

    def _model_names(self) -> tuple[str, ...]:
        return tuple(model["name"] for model in self.available_models())
