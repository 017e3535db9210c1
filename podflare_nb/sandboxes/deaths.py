"""Whether a sandbox whose kernel died gets another one. Pure: a decision over the times of its deaths."""

from ..protocol.states import EndReason, ExitCause

WINDOW_SECONDS = 60.0
MAX_DEATHS = 3


def while_starting(earlier: tuple[float, ...], now: float) -> tuple[float, ...]:
    """Add a death of a kernel that had not begun to work; those outside the window are forgotten."""
    return (*(at for at in earlier if now - at < WINDOW_SECONDS), now)


def hopeless(deaths: tuple[float, ...]) -> bool:
    """Too many kernels in a row died while they started: the next one would, too."""
    return len(deaths) >= MAX_DEATHS


def end_reason(cause: ExitCause) -> EndReason:
    """What a sandbox ends with whose kernel cannot be had again."""
    return "oom" if cause == "oom" else "crashed"
