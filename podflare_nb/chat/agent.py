"""The agent with a language model: pydantic-ai's loop, whose tools work through the turn's writer.

Imports pydantic-ai (0.9 s), so ``service`` imports this module in a thread and only when a turn needs it. The
model's text goes to the writer as it streams; the tools write their cells themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic_ai import Agent, AgentRun
from pydantic_ai.exceptions import AgentRunError, UsageLimitExceeded, UserError
from pydantic_ai.messages import (
    AgentStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
)
from pydantic_ai.models import Model
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import UsageLimits

from ..protocol.egress import Egress
from .branch_tools import tools_with_branches
from .failures import explain
from .history import PastTurn
from .limits import TurnLimits
from .messages import keep_native, messages_of
from .models import ModelChoice
from .ports import Workspace
from .prompt import ALTERNATIVES, SYSTEM_PROMPT, network
from .providers import open_model
from .tools import ToolContext, tools
from .turn import Ending, Usage
from .turn_branches import TurnBranches
from .writer import TurnWriter

__all__ = ["ModelAgent", "open_model"]

_INVALID_CALLS = 3
"""How often a model may call a tool wrongly, and be told so, before the turn fails."""


@dataclass(frozen=True, slots=True)
class ModelAgent:
    """One turn of a model. ``earlier`` are the turns before it, as far as they fit."""

    choice: ModelChoice
    model: Model
    message: str
    earlier: tuple[PastTurn, ...]
    workspace: Workspace
    egress: Egress
    branches: TurnBranches | None
    max_steps: int
    max_tokens: int | None
    limits: TurnLimits

    async def run(self, writer: TurnWriter) -> Ending:
        """Work until the model has answered. Errors of the model end in an Ending, all others are raised."""
        agent = Agent(
            self.model,
            name="podflare_nb",
            instructions=SYSTEM_PROMPT + network(self.egress) + (ALTERNATIVES if self.branches is not None else ""),
            deps_type=ToolContext,
            tools=tools() if self.branches is None else tools_with_branches(),
            retries={"tools": _INVALID_CALLS, "output": 1},
        )
        try:
            async with agent.iter(
                self.message,
                message_history=messages_of(self.earlier),
                deps=self._context(writer),
                model_settings=self._settings(),
                usage_limits=UsageLimits(request_limit=self.max_steps, total_tokens_limit=self.max_tokens),
            ) as run:
                try:
                    await _follow(run, writer)
                finally:
                    _tell_usage(run, writer)
                keep_native(writer.past, run.new_messages(), self.limits.history_characters // 2)
        except UsageLimitExceeded:
            return self._limit(writer.turn.usage)
        except (AgentRunError, UserError) as error:
            ending = explain(error, self.choice)
            if ending is None:
                raise
            return ending
        return Ending("ok")

    def _context(self, writer: TurnWriter) -> ToolContext:
        return ToolContext(
            writer=writer,
            workspace=self.workspace,
            sees_images=bool(self.model.profile.get("supports_image_input", True)),
            egress=self.egress,
            branches=self.branches,
            result_characters=self.limits.result_characters,
        )

    def _settings(self) -> ModelSettings:
        return ModelSettings(max_retries=self.limits.provider_retries, timeout=self.limits.provider_timeout_seconds)

    def _limit(self, usage: Usage) -> Ending:
        if usage.requests >= self.max_steps:
            said = f"Stopped at the limit of {self.max_steps} step{'s' if self.max_steps > 1 else ''}."
            return Ending("limit", f"{said} Send a message to go on.", limit="steps")
        said = f"Stopped at the limit of {self.max_tokens:,} tokens in a turn."
        return Ending("limit", f"{said} Send a message to go on.", limit="tokens")


async def _follow(run: AgentRun[ToolContext, str], writer: TurnWriter) -> None:
    """Drive the loop: stream each answer of the model into the notebook; the tools run in between."""
    async for node in run:
        if Agent.is_model_request_node(node):
            async with node.stream(run.ctx) as stream:
                async for event in stream:
                    _tell_text(event, writer)
            writer.end_text()
            _tell_usage(run, writer)


def _tell_text(event: AgentStreamEvent, writer: TurnWriter) -> None:
    if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
        if event.previous_part_kind == "text":
            writer.text("\n\n")
        writer.text(event.part.content)
    elif isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
        writer.text(event.delta.content_delta)


def _tell_usage(run: AgentRun[ToolContext, str], writer: TurnWriter) -> None:
    used = run.usage
    writer.used(Usage(used.input_tokens, used.output_tokens, used.requests))
