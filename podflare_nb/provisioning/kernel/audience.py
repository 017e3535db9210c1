"""Who listens to what a kernel publishes; and whom one that has taken another one's place waits for.

Clients who listened to its predecessor connect anew, each of their sockets by itself, some hundred milliseconds after
the old connection ended (ZMQ_RECONNECT_IVL). What is published before they listen again is lost for them, and a request
may come before that. So none is begun until as many have come as there were, or it is too late to wait.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

SECONDS = 2.0
"""How long one who does not come again is waited for."""
TELLING_SECONDS = 5.0
"""How long it may take until it is known how many there were: the predecessor's end."""


class Audience:
    """Counts subscriptions as they come. ``complete`` is called when nobody is awaited any more, in any thread."""

    def __init__(self) -> None:
        self.complete: Callable[[], object] = lambda: None
        self._arrived = 0
        self._before = 0
        self._expected: float = 0

    @property
    def awaited(self) -> bool:
        """Whether somebody is."""
        return self._arrived < self._expected

    @property
    def missing(self) -> int:
        """How many are, as far as that is known."""
        return 0 if self._expected == inf else max(0, int(self._expected) - self._arrived)

    def arrive(self, number: int) -> None:
        """So many have subscribed."""
        awaited = self.awaited
        self._arrived += number
        if awaited and not self.awaited:
            self.complete()

    def expect_some(self) -> None:
        """A predecessor's clients come from now on; how many is told later."""
        self._before, self._expected = self._arrived, inf

    def expect(self, number: int) -> None:
        """They are so many."""
        awaited, self._expected = self.awaited, self._before + number
        if awaited and not self.awaited:
            self.complete()

    def give_up(self) -> None:
        """Wait for nobody."""
        awaited, self._expected = self.awaited, 0
        if awaited:
            self.complete()
