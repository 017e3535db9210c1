"""Why a turn failed: from an exception to a code and a sentence that says what to do.

Imports pydantic-ai, as ``agent`` does. Texts of a provider may hold parts of a key, so they are shown only for
errors about the request, shortened, and with the key taken out.
"""

from __future__ import annotations

from pydantic_ai import exceptions

from .models import ModelChoice
from .turn import Ending

_PROVIDER_TEXT = 300

_KINDS: tuple[tuple[type[Exception], str, str], ...] = (
    (
        exceptions.ModelAuthenticationError,
        "model_auth",
        "{label} refused the key: check {key} in the environment of the service and start it again.",
    ),
    (
        exceptions.ModelQuotaExceededError,
        "model_quota",
        "{label} says that the quota or the credit of the account is used up.",
    ),
    (exceptions.ModelRateLimitError, "model_rate_limited", "{label} limits the rate of requests. {wait}"),
    (exceptions.ModelOverloadedError, "model_overloaded", "{label} is overloaded. {wait}"),
    (exceptions.ModelUnavailableError, "model_unavailable", "{label} cannot serve this model now. {wait}"),
    (exceptions.ModelServerError, "model_server_error", "{label} failed with an error of its own. {wait}"),
    (exceptions.ModelTimeoutError, "model_timeout", "{label} did not answer in time. {wait}"),
    (exceptions.ModelRequestTimeout, "model_timeout", "{label} did not answer in time. {wait}"),
    (
        exceptions.ModelContextWindowExceededError,
        "model_context",
        "The conversation is longer than {name} can read: start a new sandbox, or choose a model that reads more.",
    ),
    (
        exceptions.ModelNotFoundError,
        "model_not_found",
        "{label} has no model {model_id!r}: check its name and the base URL.{told}",
    ),
    (exceptions.ModelRequestRejectedError, "model_rejected", "{label} rejected the request.{told}"),
    (exceptions.ModelConnectionError, "model_connection", "{connection}"),
    (exceptions.ModelAPIError, "model_error", "{label} answered with an error.{told} {wait}"),
    (
        exceptions.ContentFilterError,
        "model_content_filter",
        "The content filter of {label} stopped the answer: word the message differently.",
    ),
    (
        exceptions.UnexpectedModelBehavior,
        "model_unexpected",
        "The answer of {name} could not be used ({error}). {wait}",
    ),
    (exceptions.AgentRunError, "agent_error", "The agent stopped: {error}"),
    (exceptions.UserError, "model_misconfigured", "The model {name} cannot be used as it is set up: {error}"),
)
"""From the special to the general: the first that fits is told."""


def explain(error: BaseException, choice: ModelChoice) -> Ending | None:
    """The ending for an error of the model or its provider; None for one that is not theirs."""
    for kind, code, sentence in _KINDS:
        if isinstance(error, kind):
            told = sentence.format(
                label=choice.provider.label,
                key=choice.provider.key or "the key",
                name=choice.name,
                model_id=choice.model_id,
                wait=_wait(error),
                told=_provider_text(error, choice),
                connection=_connection(error, choice),
                error=_short(str(error)),
            )
            return Ending("error", told, code)
    return None


def _connection(error: BaseException, choice: ModelChoice) -> str:
    if getattr(error, "phase", None) in ("pool", "connect"):
        at = f" at {choice.base_url}" if choice.base_url else ""
        return f"{choice.provider.label} could not be reached{at}: check the base URL and the network of the service."
    return f"The connection to {choice.provider.label} broke off before the answer was complete. {_wait(error)}"


def _wait(error: BaseException) -> str:
    seconds = getattr(error, "retry_after", None)
    when = f"in {seconds:.0f} seconds" if isinstance(seconds, int | float) and seconds >= 1 else "in a moment"
    return f"Send the message again {when}; the kernel is as it was."


def _provider_text(error: BaseException, choice: ModelChoice) -> str:
    body = getattr(error, "body", None)
    inner = body.get("error", body) if isinstance(body, dict) else body
    text = inner.get("message") if isinstance(inner, dict) else inner
    if not isinstance(text, str) or not text.strip():
        return ""
    if choice.key:
        text = text.replace(choice.key, "<key>")
    return f" It says: {_short(text)}"


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _PROVIDER_TEXT else text[:_PROVIDER_TEXT] + "..."
