"""The tool that runs code, as every framework is given it: what a model asks for into a run, the run into an answer.

``run_tool`` (and ``run_tool_async`` for an AsyncSandbox) take whatever a model sent as arguments and give a
ToolOutcome. They raise nothing that a model or a sandbox can cause: arguments that are wrong, a sandbox that has
ended and a service that is away are outcomes with ``is_error`` and a sentence that the model can act on. No
framework's types are here; the adapters beside this module translate. Stands on ``podflare_nb.client``.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Any, Literal

from podflare_nb.client import (
    AsyncSandbox,
    ExecResult,
    NotFoundError,
    PodflareError,
    Sandbox,
    StreamBrokenError,
    UnauthenticatedError,
)

from ..protocol.observation import DEFAULT_LIMIT, Image, Output, observe, shorten
from .arguments import read_arguments, usage

__all__ = [
    "DEFAULT_LIMIT",
    "DEFAULT_SECONDS",
    "DESCRIPTION",
    "INPUT_SCHEMA",
    "NAME",
    "CodeCall",
    "Image",
    "Provenance",
    "ToolOutcome",
    "code_call",
    "failure_outcome",
    "record",
    "record_async",
    "result_outcome",
    "run_tool",
    "run_tool_async",
]

NAME = "run_code"

DESCRIPTION = """\
Run code in a live Jupyter notebook and get its output. Python runs in one IPython kernel: variables, imports and \
files stay from call to call. With language "bash" the code runs in a fresh bash process in the same directory. The \
last expression of Python code is shown, and so are plots. Long output is cut in the middle: print summaries. What the \
code may reach over the network is set for each sandbox; when a connection is refused, the output says why."""

INPUT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "code": {"type": "string", "description": "The code to run."},
        "language": {
            "type": "string",
            "enum": ["python", "bash"],
            "description": "python (the default) or bash.",
        },
    },
    "required": ["code"],
    "additionalProperties": False,
}
"""JSON Schema of the arguments. Frameworks keep what they are given: copy it before changing it."""

DEFAULT_SECONDS = 600.0
"""How long one run may take unless the adapter's caller says otherwise; then the code is interrupted."""

_LONGEST_RECORD = 1024 * 1024
"""Bytes of one recorded message that the service takes."""

_NO_CHARACTER = re.compile("[\0\ud800-\udfff]")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CodeCall:
    """Arguments that are right."""

    code: str
    language: Literal["python", "bash"] = "python"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who asked, for the notebook: ``operator`` names the program or framework, ``model`` is ``provider:name``.

    Advisory, at most 200 characters each; None: not known.
    """

    tool_call_id: str | None = None
    operator: str | None = None
    model: str | None = None
    turn_id: str | None = None


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """What the model is told: text that is never empty, and pictures that every provider takes in size."""

    text: str
    images: tuple[Image, ...] = ()
    is_error: bool = False


def code_call(arguments: object) -> CodeCall | str:
    """Read a model's arguments (a mapping, or its JSON text): the call, or a sentence on what is wrong with it."""
    given = read_arguments(arguments, INPUT_SCHEMA)
    if isinstance(given, str):
        return given
    if not given["code"].strip():
        return f"The argument code is empty. {usage(INPUT_SCHEMA)}"
    return CodeCall(**given)


def run_tool(
    sandbox: Sandbox,
    arguments: object,
    by: Provenance | None = None,
    *,
    limit: int = DEFAULT_LIMIT,
    timeout_seconds: float | None = DEFAULT_SECONDS,
) -> ToolOutcome:
    """Run what a model asked for. ``limit``: characters of text; ``timeout_seconds``: None for no limit of its own."""
    call = code_call(arguments)
    if isinstance(call, str):
        return ToolOutcome(call, is_error=True)
    by = by or Provenance()
    try:
        result = sandbox.run_code(
            call.code,
            call.language,
            timeout_seconds=timeout_seconds,
            turn_id=by.turn_id,
            tool_call_id=by.tool_call_id,
            operator=by.operator,
            model=by.model,
        )
    except PodflareError as error:
        return failure_outcome(error, limit)
    return result_outcome(result, limit)


async def run_tool_async(
    sandbox: AsyncSandbox,
    arguments: object,
    by: Provenance | None = None,
    *,
    limit: int = DEFAULT_LIMIT,
    timeout_seconds: float | None = DEFAULT_SECONDS,
) -> ToolOutcome:
    """``run_tool`` for an AsyncSandbox. A task that is cancelled interrupts the code."""
    call = code_call(arguments)
    if isinstance(call, str):
        return ToolOutcome(call, is_error=True)
    by = by or Provenance()
    try:
        result = await sandbox.run_code(
            call.code,
            call.language,
            timeout_seconds=timeout_seconds,
            turn_id=by.turn_id,
            tool_call_id=by.tool_call_id,
            operator=by.operator,
            model=by.model,
        )
    except PodflareError as error:
        return failure_outcome(error, limit)
    return result_outcome(result, limit)


def result_outcome(result: ExecResult, limit: int = DEFAULT_LIMIT) -> ToolOutcome:
    """What a model is told of a run: at most ``limit`` characters of its output, head and tail, and its pictures."""
    observed = observe(_outputs(result), result, limit, [notice.message for notice in result.notices])
    return ToolOutcome(observed.text, observed.images, is_error=not result.ok)


def failure_outcome(error: PodflareError, limit: int = DEFAULT_LIMIT) -> ToolOutcome:
    """What a model is told when the sandbox or the service could not: the sentence, and what helps where we know."""
    parts = [error.message]
    if error.retry_after is not None:
        parts.append(f"Try again in {error.retry_after:g} seconds.")
    elif isinstance(error, NotFoundError | UnauthenticatedError) or error.code in {"gone", "not_open"}:
        parts.append("Calling the tool again will not help: tell the person.")
    if isinstance(error, StreamBrokenError):
        parts += [part for part in (error.stdout, error.stderr) if part]
    return ToolOutcome(shorten("\n".join(parts), limit), is_error=True)


def record(sandbox: Sandbox, message: str, role: Literal["assistant", "user"], by: Provenance) -> None:
    """Write what an outside agent or its person said into the notebook. A refusal is logged: the loop goes on."""
    if not message.strip():
        return
    try:
        sandbox.record(_recordable(message), role=role, turn_id=by.turn_id, operator=by.operator, model=by.model)
    except PodflareError as error:
        _log.warning("A message was not recorded in the notebook: %s", error.message)


async def record_async(sandbox: AsyncSandbox, message: str, role: Literal["assistant", "user"], by: Provenance) -> None:
    """``record`` for an AsyncSandbox."""
    if not message.strip():
        return
    try:
        await sandbox.record(_recordable(message), role=role, turn_id=by.turn_id, operator=by.operator, model=by.model)
    except PodflareError as error:
        _log.warning("A message was not recorded in the notebook: %s", error.message)


def _outputs(result: ExecResult) -> list[Output]:
    """The outputs in nbformat's form. A traceback is part of stderr already."""
    outputs: list[Output] = [{"output_type": "stream", "name": "stdout", "text": _ended(result.stdout)}]
    outputs += [{"output_type": "display_data", "data": one.data} for one in result.results]
    outputs.append({"output_type": "stream", "name": "stderr", "text": _ended(result.stderr)})
    return outputs


def _ended(text: str) -> str:
    return text + "\n" if text else ""


def _recordable(message: str) -> str:
    """A message that the service takes: within its limit, whatever its characters weigh, and without what is no
    character. Models send that too: half of a surrogate pair, NUL."""
    message = _NO_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", message)
    return message if len(message.encode()) <= _LONGEST_RECORD else shorten(message, 200_000)
