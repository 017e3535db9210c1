"""The states of a sandbox and the only ways between them. Pure: a table."""

from typing import Literal

from ..protocol.states import SandboxState

StateEvent = Literal["work_began", "work_ended", "close", "kernel_gone"]
"""``close``: the end was decided; ``kernel_gone``: its kernel is no more, and nothing of it is left."""

_TABLE: dict[tuple[SandboxState, StateEvent], SandboxState] = {
    ("ready", "work_began"): "busy",
    ("busy", "work_ended"): "ready",
    ("ready", "close"): "closing",
    ("busy", "close"): "closing",
    # What ran is ended by the close, and says so.
    ("closing", "work_ended"): "closing",
    ("closing", "close"): "closing",
    ("closing", "kernel_gone"): "closed",
    ("closed", "close"): "closed",
}


class ImpossibleTransitionError(Exception):
    """An event that cannot come in this state: a mistake of ours."""


def after(state: SandboxState, event: StateEvent) -> SandboxState:
    """The state that follows. Raises ImpossibleTransitionError."""
    try:
        return _TABLE[state, event]
    except KeyError:
        raise ImpossibleTransitionError(f"a sandbox that is {state} cannot take {event}") from None


def takes_work(state: SandboxState) -> bool:
    """Whether it takes executions."""
    return state in ("ready", "busy")
