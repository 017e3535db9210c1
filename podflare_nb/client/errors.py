"""What can go wrong in a call, as one flat tree: the server's sentence, its code, and what the client can do.

Mirrors the codes of the service's own tree and adds what only a client sees: a service that is not there, an
answer that is not the service's, a stream that was cut. Stands on nothing of the package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .results import Result


class PodflareError(Exception):
    """Base of all. ``message`` is a sentence; ``status`` is the HTTP status, None where none came."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, status: int | None = None, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.details = dict(details or {})

    @property
    def retry_after(self) -> float | None:
        """Seconds after which the service wants to be asked again; None where it named none."""
        value = self.details.get("retry_after")
        return float(value) if isinstance(value, int | float) else None


class InvalidArgumentError(PodflareError):
    """The request itself is wrong; repeating it cannot help."""

    code = "invalid_argument"


class UnauthenticatedError(PodflareError):
    """No key, or one that the service does not know."""

    code = "unauthenticated"


class ForbiddenError(PodflareError):
    """The key is known, but may not do this."""

    code = "forbidden"


class NotFoundError(PodflareError):
    """No such thing of yours."""

    code = "not_found"


class MergedError(NotFoundError):
    """The sandbox was merged: another one, ``merged_into``, is its state now. Its notebook can still be read."""

    code = "merged"

    @property
    def merged_into(self) -> str | None:
        """The id of the sandbox to use instead."""
        parent = self.details.get("merged_into")
        return parent if isinstance(parent, str) else None


class ConflictError(PodflareError):
    """The state of the thing does not allow it now (busy, closing, running)."""

    code = "conflict"


class GoneError(PodflareError):
    """It existed and has ended; ``reason`` tells why."""

    code = "gone"

    @property
    def reason(self) -> str | None:
        """Why it ended: closed, idle_timeout, lifetime, merged, oom, crashed or shutdown."""
        reason = self.details.get("reason")
        return reason if isinstance(reason, str) else None


class TooLargeError(PodflareError):
    """Over a limit that the message names."""

    code = "too_large"


class QuotaExceededError(PodflareError):
    """The quota is used up; ``retry_after`` tells when to ask again."""

    code = "quota_exceeded"


class NoCapacityError(PodflareError):
    """The service cannot do it now; ``retry_after`` tells when to ask again, where it knows."""

    code = "no_capacity"


class IsolationError(PodflareError):
    """The service cannot isolate a sandbox as it was asked to."""

    code = "isolation"


class ServiceUnreachableError(PodflareError):
    """Nobody answers at the URL; nothing was sent, so nothing happened."""

    code = "unreachable"


class ConnectionLostError(PodflareError):
    """The connection ended before the answer was complete: whether the request took effect is unknown."""

    code = "connection_lost"


class TimedOutError(ConnectionLostError):
    """The service is there and did not answer in time: whether the request took effect is unknown."""

    code = "timed_out"


class StreamBrokenError(ConnectionLostError):
    """A stream ended before its last event: how the work ended is unknown.

    ``events_received`` counts what arrived, ``last_seq`` is the last event's number (None: no event came);
    ``stdout``, ``stderr`` and ``results`` hold what came so far where the call collects it. ``may_still_run``: the
    service had not ended the work when the connection was lost; it interrupts code whose client has gone when it
    notices. ``sandbox_id`` is where: ``replay()`` gives the events that the service still has.
    """

    code = "stream_broken"

    def __init__(  # noqa: PLR0913 - each is a thing that is known
        self,
        message: str,
        *,
        events_received: int = 0,
        last_seq: int | None = None,
        stdout: str = "",
        stderr: str = "",
        may_still_run: bool = True,
        sandbox_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.events_received = events_received
        self.last_seq = last_seq
        self.stdout = stdout
        self.stderr = stderr
        self.results: list[Result] = []
        self.may_still_run = may_still_run
        self.sandbox_id = sandbox_id


class UnexpectedAnswerError(PodflareError):
    """What answers at the URL does not speak this service's protocol."""

    code = "unexpected_answer"


class NotOpenError(PodflareError):
    """The sandbox object was not started yet, or was closed by this program."""

    code = "not_open"


class CodeError(PodflareError):
    """The code in the sandbox failed; raised only by ``raise_for_error``."""

    code = "code_failed"


_BY_CODE: dict[str, type[PodflareError]] = {
    kind.code: kind
    for kind in (
        InvalidArgumentError,
        UnauthenticatedError,
        ForbiddenError,
        NotFoundError,
        MergedError,
        ConflictError,
        GoneError,
        TooLargeError,
        QuotaExceededError,
        NoCapacityError,
        IsolationError,
    )
}

_BY_STATUS: dict[int, type[PodflareError]] = {
    400: InvalidArgumentError,
    401: UnauthenticatedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    413: TooLargeError,
    429: QuotaExceededError,
    503: NoCapacityError,
}


def error_of_answer(status: int, answer: object, *, url: str, retry_after: float | None = None) -> PodflareError:
    """Turn a refusal into its error. ``answer`` is the decoded JSON body, None where it was not JSON."""
    if not isinstance(answer, dict) or not isinstance(answer.get("error"), str):
        return UnexpectedAnswerError(
            f"{url} answered {status}, but not as podflare_nb does. Is the host right? It usually ends with "
            "/podflare, as in http://127.0.0.1:8888/podflare.",
            status=status,
            details={} if retry_after is None else {"retry_after": retry_after},
        )
    kind = _BY_CODE.get(str(answer.get("code")), _BY_STATUS.get(status, PodflareError))
    given = answer.get("details")
    details: dict[str, Any] = dict(given) if isinstance(given, dict) else {}
    if retry_after is not None:
        details.setdefault("retry_after", retry_after)
    return kind(answer["error"], status=status, details=details)
