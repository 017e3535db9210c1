"""When a failed call may be made again, and after how long: a pure decision.

Only what is safe is repeated: anything that nobody listened to; reads, and what means the same when it is said twice,
such as a create or a fork with a key of its own (the service then answers as it did before); and what the service
refused with the word to come again. Code is never run twice.
"""

from __future__ import annotations

from typing import Literal

from .errors import ConnectionLostError, PodflareError, ServiceUnreachableError, TimedOutError

Failure = Literal["not_sent", "cut", "slow", "refused_now", "refused"]
"""Nothing was sent; sent, but no whole answer came, or none in time; refused with a status that may pass; refused."""

Repeat = Literal["unsent", "refused", "always"]
"""What a call allows: to be repeated while nothing was sent, also when it was refused before it did anything, or also
when nobody knows whether it did."""

RETRIES = 2
"""How often a failed call is made again unless the caller says otherwise."""
LONGEST_PAUSE_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.05
_PASSING_STATUSES = frozenset({429, 503})
_READS = frozenset({"GET", "HEAD"})


def pause_before_retry(
    failure: Failure, repeat: Repeat, attempt: int, retry_after: float | None = None, *, retries: int = RETRIES
) -> float | None:
    """Seconds to wait before attempt number ``attempt + 1``; None: do not repeat.

    A Retry-After longer than ``LONGEST_PAUSE_SECONDS`` is the caller's to wait for, not a call's.
    """
    if attempt > retries or not _is_safe(failure, repeat, asked_to=retry_after is not None):
        return None
    pause = _FIRST_PAUSE_SECONDS * 4 ** (attempt - 1) if retry_after is None else max(0.0, retry_after)
    return pause if pause <= LONGEST_PAUSE_SECONDS else None


def _is_safe(failure: Failure, repeat: Repeat, *, asked_to: bool) -> bool:
    if failure == "not_sent":
        return True
    if failure == "refused_now":
        # Without a Retry-After it may be a proxy's word, behind which something happened.
        return repeat == "always" or (repeat == "refused" and asked_to)
    # A service that is slow is not helped by being asked again.
    return failure == "cut" and repeat == "always"


def seconds_until(told: str, now: float) -> float | None:
    """Read a Retry-After: seconds, or the date that proxies may give; None: neither. ``now``: since the epoch."""
    if told.isdecimal():
        return float(told)
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - it takes milliseconds, and few calls need it

    try:
        return max(0.0, parsedate_to_datetime(told).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def repeat_of_method(method: str) -> Repeat:
    """What a call allows that says nothing of itself: reads may be repeated."""
    return "always" if method in _READS else "refused"


def failure_of(error: PodflareError) -> Failure:
    """Which kind of failure an error is."""
    if isinstance(error, ServiceUnreachableError):
        return "not_sent"
    if isinstance(error, TimedOutError):
        return "slow"
    if isinstance(error, ConnectionLostError):
        return "cut"
    return "refused_now" if error.status in _PASSING_STATUSES else "refused"
