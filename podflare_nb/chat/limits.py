"""How far a turn may go, and the check of what a request asks for against that.

A request over a limit is refused with the limit named; nothing is capped silently.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import InvalidArgumentError, TooLargeError

Approval = Literal["auto", "ask"]


@dataclass(frozen=True, slots=True)
class TurnLimits:
    """The service's limits; the first three are defaults of a turn, the ``most`` ones what it may ask for."""

    max_steps: int = 20
    """Requests to the model in one turn."""
    timeout_seconds: float = 1_800.0
    max_tokens: int | None = 2_000_000
    """Input and output together, as the provider counts them."""
    most_steps: int = 200
    most_seconds: float = 24 * 3_600.0
    message_bytes: int = 1024 * 1024
    result_characters: int = 8_000
    """Of one run's output, what the model is given."""
    history_characters: int = 400_000
    """Of earlier turns, what the model is given; the oldest turns go first."""
    most_branches: int = 8
    """Open at once in one turn; a tenant's quota may allow fewer."""
    fork_wait_seconds: float = 30.0
    """How long a fork waits for code that runs."""
    stop_grace_seconds: float = 30.0
    """How long a turn that was stopped waits for its code, which the sandbox interrupts and then kills."""
    provider_retries: int = 2
    """Repetitions of a request that the provider refused for load, made by its SDK."""
    provider_timeout_seconds: float = 180.0
    """Silence of a provider, in seconds, after which the turn ends."""


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """What a client asks for; None means the service's default. ``operator`` tells which program sent it."""

    message: str
    model: str | None = None
    max_steps: int | None = None
    max_tokens: int | None = None
    timeout_seconds: float | None = None
    approve: Approval = "auto"
    operator: str | None = None


def check_request(request: TurnRequest, limits: TurnLimits) -> None:
    """Refuse what is wrong or too much. Raises InvalidArgumentError and TooLargeError."""
    if not request.message.strip():
        raise InvalidArgumentError("The message is empty. Send a question, a task or code to run.")
    if "\0" in request.message:
        raise InvalidArgumentError("The message holds a NUL character. Send text.")
    size = len(request.message.encode(errors="surrogatepass"))
    if size > limits.message_bytes:
        raise TooLargeError(
            f"The message has {size} bytes, over the limit of {limits.message_bytes}. "
            "Put the data into a file of the sandbox and name it in the message.",
            limit=limits.message_bytes,
        )
    if request.max_steps is not None and not 1 <= request.max_steps <= limits.most_steps:
        raise InvalidArgumentError(
            f"max_steps is {request.max_steps}; it must be from 1 to {limits.most_steps}.",
            limit=limits.most_steps,
        )
    if request.max_tokens is not None and request.max_tokens < 1:
        raise InvalidArgumentError(f"max_tokens is {request.max_tokens}; it must be 1 or more.")
    if request.timeout_seconds is not None and not 0 < request.timeout_seconds <= limits.most_seconds:
        raise InvalidArgumentError(
            f"timeout_seconds is {request.timeout_seconds}; it must be above 0 and at most {limits.most_seconds:g}.",
            limit=limits.most_seconds,
        )
    if request.approve not in ("auto", "ask"):
        raise InvalidArgumentError(f"approve is {request.approve!r}; it must be 'auto' or 'ask'.")
