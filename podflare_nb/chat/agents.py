"""Who works on a turn, and what it knows of the turns before: the direct agent, or a model that is opened here.

Holds the open models (their connections live from turn to turn) and the earlier turns of each sandbox. Imports
pydantic-ai only through ``agent``, in a thread, when a model is needed.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from ..errors import InvalidArgumentError
from .blocks import depends_on_names
from .direct import DirectAgent, names_of_notebook
from .history import PastTurn, newest_within, turns_of_notebook
from .limits import TurnLimits, TurnRequest
from .models import DIRECT, ModelChoice, choose
from .ports import Transcript
from .turn import Ending
from .turn_branches import TurnBranches
from .writer import TurnWriter

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Assignment:
    """What an agent gets for one turn. ``choice`` None: the direct agent; ``branches`` None: it cannot fork."""

    writer: TurnWriter
    transcript: Transcript
    request: TurnRequest
    choice: ModelChoice | None
    branches: TurnBranches | None = None


class Agents:
    """One per service. ``new_call_id`` names the runs of the direct agent."""

    def __init__(self, limits: TurnLimits, new_call_id: Callable[[], str]) -> None:
        self._limits = limits
        self._new_call_id = new_call_id
        self._models: dict[ModelChoice, Any] = {}
        self._open = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._earlier: dict[str, list[PastTurn]] = {}

    def __repr__(self) -> str:
        return f"<Agents models={[choice.name for choice in self._models]}, {len(self._earlier)} conversations>"

    async def run(self, work: Assignment, models: tuple[str, ...]) -> Ending:
        """Let the right agent work on the message. ``models`` are those that could be chosen."""
        writer, transcript, request, choice = work.writer, work.transcript, work.request, work.choice
        if choice is None:
            return await self._run_direct(writer, transcript, request, models)
        earlier: list[PastTurn] = []
        if choice.provider.name != "test":  # it runs its cell only in a conversation that it did not answer yet
            earlier = await self._earlier_turns(writer.turn.sandbox_id, transcript)
        writer.begin(request.message)
        module = await asyncio.to_thread(_agent_module)
        agent = module.ModelAgent(
            choice=choice,
            model=await self._model(module, choice),
            message=request.message,
            earlier=tuple(earlier),
            workspace=writer.sandbox.files,
            egress=writer.sandbox.egress,
            branches=work.branches,
            max_steps=request.max_steps or self._limits.max_steps,
            max_tokens=request.max_tokens or self._limits.max_tokens,
            limits=self._limits,
        )
        ending: Ending = await agent.run(writer)
        return ending

    def remember(self, sandbox_id: str, past: PastTurn) -> None:
        """A turn is over; later ones of its sandbox are told of it."""
        if sandbox_id in self._earlier:
            kept = [*self._earlier[sandbox_id], past]
            self._earlier[sandbox_id] = newest_within(kept, self._limits.history_characters)

    def forget(self, sandbox_id: str) -> None:
        """The sandbox is over."""
        self._earlier.pop(sandbox_id, None)

    def warm(self, model: str, env: Mapping[str, str]) -> None:
        """Import what the default model needs, in a thread of its own, and nothing for the direct agent."""
        try:
            choice = choose(model, env)
        except InvalidArgumentError as error:
            log.warning("The default model does not work: %s", error.message)
            return
        if choice is not None:
            threading.Thread(target=_warm, args=(choice,), name="podflare-nb-warm", daemon=True).start()

    async def aclose(self) -> None:
        """Close the connections to models. Idempotent."""
        self._models.clear()
        await self._open.aclose()

    async def _run_direct(
        self, writer: TurnWriter, transcript: Transcript, request: TurnRequest, models: tuple[str, ...]
    ) -> Ending:
        known: frozenset[str] = frozenset()
        if depends_on_names(request.message):
            known = names_of_notebook(await transcript.notebook())
        others = tuple(name for name in models if name != DIRECT)
        agent = DirectAgent(request.message, others, known, self._new_call_id)
        writer.begin(agent.shown_message())
        return await agent.run(writer)

    async def _earlier_turns(self, sandbox_id: str, transcript: Transcript) -> list[PastTurn]:
        """From memory; the first model turn of a sandbox in this process reads them from the notebook."""
        if sandbox_id not in self._earlier:
            told = turns_of_notebook(await transcript.notebook(), self._limits.result_characters)
            self._earlier[sandbox_id] = newest_within(told, self._limits.history_characters)
        return self._earlier[sandbox_id]

    async def _model(self, module: ModuleType, choice: ModelChoice) -> Any:
        async with self._opening:
            if choice not in self._models:
                model = await asyncio.to_thread(module.open_model, choice)
                self._models[choice] = await self._open.enter_async_context(model)
            return self._models[choice]


def _agent_module() -> ModuleType:
    return importlib.import_module(".agent", __package__)


def _warm(choice: ModelChoice) -> None:
    try:
        _agent_module().open_model(choice)
    except Exception:
        log.exception("The model %s could not be prepared", choice.name)
