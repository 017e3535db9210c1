"""What carries requests: the interface that a connection speaks to, whichever way bytes go from here.

``sockets`` and ``async_sockets`` speak to a service on this machine, ``through_httpx`` to any other. No input or output
happens here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each step may take, in seconds; ``read`` is one wait for more bytes, None: without end."""

    connect: float = 10.0
    read: float | None = 120.0
    write: float = 120.0


TIMEOUTS = Timeouts()
"""Of ordinary calls."""

STREAM_TIMEOUTS = Timeouts(read=None)
"""A stream has no read timeout of its own: code may be silent for as long as it runs."""

MOST_PATIENT = 86_400.0
"""Seconds; longer than any call of the service waits, shorter than what a socket takes for a timeout."""


def patient(seconds: float) -> Timeouts:
    """Give the timeouts of a call that the service itself may let wait for so long; it refuses what is no time."""
    is_time = isinstance(seconds, int | float) and 0.0 < seconds <= MOST_PATIENT
    return Timeouts(read=(TIMEOUTS.read or 0.0) + seconds) if is_time else TIMEOUTS


def json_of(body: Mapping[str, Any]) -> bytes:
    """Encode a body; fields that are None stay away. Raises InvalidArgumentError for what JSON cannot hold."""
    try:
        return json.dumps({name: value for name, value in body.items() if value is not None}).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(
            f"An argument cannot be sent ({error}): give texts, numbers, and lists and dicts of them; ids as texts."
        ) from error


@dataclass(frozen=True, slots=True)
class Request:
    """What to send. ``content`` is the body as a whole; one that comes in pieces goes beside the request."""

    method: str
    url: str
    headers: dict[str, str]
    content: bytes | None = None
    timeouts: Timeouts = TIMEOUTS


class TransportError(Exception):
    """No whole answer came."""


class NotSentError(TransportError):
    """Not one byte was sent: nobody listens there."""


class CutError(TransportError):
    """Something was sent; then the connection ended, or spoke no HTTP."""


class SlowError(CutError):
    """Something was sent; then nothing happened for as long as the timeouts allow."""


class Answer(Protocol):
    """An answer whose body is unread. Whoever has it calls ``close``; closing it early ends the connection."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """By names in lower case."""

    def chunks(self) -> Iterator[bytes]:
        """Give the body as it comes; raises CutError."""

    def read(self) -> bytes:
        """Give the whole body; raises CutError."""

    def close(self) -> None:
        """Let go of the connection. Idempotent."""


class Transport(Protocol):
    """Connections to one service, kept open between requests. Safe for threads."""

    def send(self, request: Request, pieces: Iterator[bytes] | None = None) -> Answer:
        """Send and wait for the answer's head; raises TransportError."""

    def close(self) -> None:
        """Close what is idle."""


class AsyncAnswer(Protocol):
    """An Answer of the asynchronous client."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """By names in lower case."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Give the body as it comes; raises CutError."""

    async def read(self) -> bytes:
        """Give the whole body; raises CutError."""

    async def aclose(self) -> None:
        """Let go of the connection. Idempotent."""


class AsyncTransport(Protocol):
    """A Transport of one event loop."""

    async def send(self, request: Request, pieces: AsyncIterator[bytes] | None = None) -> AsyncAnswer:
        """Send and wait for the answer's head; raises TransportError."""

    async def aclose(self) -> None:
        """Close what is idle."""
