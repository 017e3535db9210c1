"""Whether a sandbox works, rests or ends, and since when: its state with the time that idleness counts from."""

from collections.abc import Callable
from datetime import datetime

from ..protocol.states import SandboxState
from . import state
from .state import StateEvent


class Activity:
    """The state of one sandbox over time; every change is one of ``state``'s table."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.state: SandboxState = "ready"
        self._clock = clock
        self.last_active_at = clock()

    def __repr__(self) -> str:
        return f"<Activity {self.state} since {self.last_active_at}>"

    def take(self, event: StateEvent) -> None:
        """Something happened. Raises ImpossibleTransitionError for what cannot."""
        self.state = state.after(self.state, event)
        self.was_used()

    def was_used(self) -> None:
        """The idle time begins anew."""
        self.last_active_at = self._clock()
