"""What is said of a sandbox that is over: why, and what its user can do now. Pure: reasons in, errors out."""

from ..errors import GoneError, MergedError, PodflareError
from ..protocol.states import EndReason

ENDINGS: dict[EndReason, str] = {
    "closed": "The sandbox was closed.",
    "idle_timeout": "The sandbox was idle for its idle_timeout_seconds and has ended.",
    "lifetime": "The sandbox reached its timeout_seconds and has ended.",
    "shutdown": "The service was shut down, and the sandbox with it.",
}
"""The reasons whose sentence is always the same."""


REPLACED = "The sandbox has another state now ({how}); what ran in it before has ended. Open another terminal."
"""What a terminal is told that does not come along."""


def merged(sandbox_id: str, into: str) -> str:
    """The end of a branch that won."""
    return f"The sandbox {sandbox_id} was merged into {into}, which has its state now."


def over(
    sandbox_id: str, reason: EndReason | None, message: str | None, merged_into: str | None = None
) -> PodflareError:
    """The error that whoever asks for it is answered: GoneError with the reason, MergedError for a merged one."""
    reason = reason or "shutdown"
    sentence = message or ENDINGS["shutdown"]
    notebook = f"GET /v1/sandboxes/{sandbox_id}/notebook"
    if merged_into is not None:
        advice = f"Use that one; the branch's own notebook is still readable at {notebook}."
        return MergedError(f"{sentence} {advice}", merged_into=merged_into)
    advice = f"Create another one (POST /v1/sandboxes); its notebook is still readable at {notebook}."
    return GoneError(f"{sentence} {advice}", reason=reason)
