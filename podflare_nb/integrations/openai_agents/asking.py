"""Who asks, as the SDK's context of a tool call tells it: the call's id, the agent's name, the model's name.

Pure. The function tool and the shell of a sandbox agent stand on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agents import Model
from agents.models import get_default_model

from ..tool_sandbox import provenance

if TYPE_CHECKING:
    from agents.tool_context import ToolContext

    from ..code_tool import Provenance

OPERATOR = "openai-agents"


def asked_by(context: ToolContext[Any]) -> Provenance:
    """Give the provenance of a tool call."""
    operator = context.agent.name if context.agent else OPERATOR
    return provenance(context.tool_call_id, operator, _model_of(context))


def _model_of(context: ToolContext[Any]) -> str | None:
    """Name the model as ``provider:name``; the SDK writes ``provider/name``, and no provider for OpenAI's own."""
    configured = context.run_config.model if context.run_config else None
    model = configured or getattr(context.agent, "model", None) or get_default_model()
    if isinstance(model, Model):
        # The SDK's own models keep their name there; of others nothing is known.
        model = getattr(model, "model", None)
    if not isinstance(model, str):
        return None
    provider, slash, name = model.partition("/")
    return f"{provider}:{name}" if slash else f"openai:{model}"
