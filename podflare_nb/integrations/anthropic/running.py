"""The one call that every tool of this package makes: code in the sandbox, with who asked for it."""

from __future__ import annotations

from dataclasses import dataclass

from podflare_nb.client import PodflareError

from ..code_tool import CodeCall, Provenance, ToolOutcome, failure_outcome, result_outcome
from ..steps import Steps


@dataclass(frozen=True, slots=True)
class Run:
    """How a tool's code is run: on whose behalf, for how many seconds (None: no limit), told in how many characters."""

    by: Provenance
    timeout_seconds: float | None
    limit: int


def run_steps(call: CodeCall, run: Run) -> Steps[ToolOutcome]:
    """Run it. What the sandbox or the service cannot do is an outcome."""
    by = run.by
    try:
        result = yield lambda sandbox: sandbox.run_code(
            call.code,
            call.language,
            timeout_seconds=run.timeout_seconds,
            turn_id=by.turn_id,
            tool_call_id=by.tool_call_id,
            operator=by.operator,
            model=by.model,
        )
    except PodflareError as error:
        return failure_outcome(error, run.limit)
    return result_outcome(result, run.limit)
