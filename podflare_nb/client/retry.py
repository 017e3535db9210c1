"""When a failed call may be made again, and after how long: a pure decision.

Only what is safe is repeated: anything whose connection failed before a byte was sent, and reads. Code is
never run twice.
"""

from __future__ import annotations

from typing import Literal

Failure = Literal["not_sent", "cut", "refused_now", "refused"]
"""Nothing was sent; sent, but no whole answer came; refused with a status that may pass (429, 503); refused."""

ATTEMPTS = 3
LONGEST_PAUSE_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.05
_READS = frozenset({"GET", "HEAD"})
_PASSING_STATUSES = frozenset({429, 503})


def pause_before_retry(failure: Failure, method: str, attempt: int, retry_after: float | None = None) -> float | None:
    """Seconds to wait before attempt number ``attempt + 1``; None: do not repeat.

    A Retry-After longer than ``LONGEST_PAUSE_SECONDS`` is the caller's to wait for, not a call's.
    """
    if attempt >= ATTEMPTS or failure == "refused" or (failure != "not_sent" and method not in _READS):
        return None
    pause = _FIRST_PAUSE_SECONDS * 4 ** (attempt - 1) if retry_after is None else max(0.0, retry_after)
    return pause if pause <= LONGEST_PAUSE_SECONDS else None


def failure_of_status(status: int) -> Failure:
    """Which kind of failure a refusal is."""
    return "refused_now" if status in _PASSING_STATUSES else "refused"
