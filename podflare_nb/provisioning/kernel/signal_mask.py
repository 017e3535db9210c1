"""Which signals a thread has blocked, in numbers. Stands on ``_signal``: ``signal.pthread_sigmask`` and
``signal.valid_signals`` make an Enum of each of 64, in every process that a fork makes, some of them by an exception.
"""

from __future__ import annotations

import signal

# Python's own, below ``signal`` in every version; typeshed leaves it out.
from _signal import pthread_sigmask  # type: ignore[import-not-found]
from collections.abc import Iterable

ALL = frozenset(map(int, signal.valid_signals()))


def blocked() -> frozenset[int]:
    """What is blocked in this thread."""
    return frozenset(pthread_sigmask(signal.SIG_BLOCK, ()))


def block(signals: Iterable[int]) -> None:
    """Block exactly these, in this thread. Raises what a handler of the user's raises, of a signal that has waited: the
    mask stands then."""
    pthread_sigmask(signal.SIG_SETMASK, signals)
