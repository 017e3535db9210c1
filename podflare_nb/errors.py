"""What can go wrong, as one short flat tree: a code for programs, a sentence for people, details for both.

Every error that a user can cause is one of these. The domain raises them and knows nothing of HTTP;
``handlers`` maps codes to statuses in one table.
"""

from __future__ import annotations

from typing import Any, ClassVar


class PodflareError(Exception):
    """Base of all. ``message`` is a sentence that says what happened and what to do."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidArgumentError(PodflareError):
    """The request itself is wrong; repeating it cannot help."""

    code = "invalid_argument"


class UnauthenticatedError(PodflareError):
    """No key, or one that is not known."""

    code = "unauthenticated"


class ForbiddenError(PodflareError):
    """Known, but not allowed."""

    code = "forbidden"


class NotFoundError(PodflareError):
    """No such thing of yours. A foreign thing answers the same as one that never was."""

    code = "not_found"


class MergedError(NotFoundError):
    """It was merged into another sandbox, ``details["merged_into"]``, which has its state now."""

    code = "merged"


class ConflictError(PodflareError):
    """The state of the thing does not allow it now (busy, closing, running)."""

    code = "conflict"


class GoneError(PodflareError):
    """It existed and has ended; ``details["reason"]`` tells why (see ``protocol.states.EndReason``)."""

    code = "gone"


class TooLargeError(PodflareError):
    """Over a limit that the message names."""

    code = "too_large"


class RangeNotSatisfiableError(PodflareError):
    """A part of a file that is behind its end; ``details["size"]`` is the file's, in bytes."""

    code = "range_not_satisfiable"


class QuotaExceededError(PodflareError):
    """The tenant's quota is used up; ``details["retry_after"]`` is in seconds."""

    code = "quota_exceeded"


class NoCapacityError(PodflareError):
    """The machine cannot do it now (out of memory, supervisor lost)."""

    code = "no_capacity"


class UnreachableError(PodflareError):
    """Nothing answers at a port of the sandbox, or something that is not understood."""

    code = "unreachable"


class NoAnswerError(PodflareError):
    """What a sandbox serves took too long to answer."""

    code = "no_answer"


class IsolationError(PodflareError):
    """A layer of the jail that was asked for cannot be had: the start is refused (fail closed)."""

    code = "isolation"
