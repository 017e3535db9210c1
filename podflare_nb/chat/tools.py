"""The tools of the agent: what a model may do in the sandbox. Imports pydantic-ai, as ``agent`` does.

Whatever changes something runs as a cell, so that the notebook shows it and repeats it: a file is written by a
bash cell. Reading goes past the notebook. A tool's docstring is what the model is told of it. Tools for branches
are in ``branch_tools``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from pydantic_ai import BinaryContent, RunContext, Tool
from pydantic_ai.exceptions import ToolFailed
from pydantic_ai.messages import UserContent

from ..errors import ConflictError, ForbiddenError, InvalidArgumentError, NotFoundError, TooLargeError
from ..protocol.egress import Egress
from ..protocol.observation import Observed, shorten
from ..protocol.states import Language
from ..sandboxes.packages import steps
from .branch import Branch
from .ports import FileEntry, Workspace
from .turn_branches import TurnBranches
from .writer import TurnWriter

_DENIED = "The person did not approve this run, so it did not happen. Ask what they want instead."
_NO_NETWORK = (
    "Nothing was installed: this sandbox has no network, so pip cannot download packages. "
    "Work with what is installed (`pip list` in bash shows it), or tell the person that {packages} would be needed."
)
_SHOWN_ENTRIES = 500
_REFUSALS = (ConflictError, ForbiddenError, InvalidArgumentError, NotFoundError, TooLargeError)
"""What a workspace answers to a wrong path; the model is told. Other errors end the turn."""


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What the tools of one turn work with. ``workspace`` is the sandbox's files; no ``branches``: it cannot fork."""

    writer: TurnWriter
    workspace: Workspace
    branches: TurnBranches | None
    sees_images: bool
    egress: Egress
    result_characters: int


Context = RunContext[ToolContext]
ToolResult = str | Sequence[UserContent]


async def run_code(
    ctx: Context,
    code: Annotated[str, Field(description="The whole cell.", examples=["print(6 * 7)"])],
    language: Language = "python",
) -> ToolResult:
    """Run a cell in the notebook and get its outputs. Python state persists; bash is a fresh process each time."""
    return await run_cell(ctx, code, language)


async def write_file(
    ctx: Context,
    path: Annotated[str, Field(description="Relative to the workspace.", examples=["notes.txt"])],
    text: str,
) -> ToolResult:
    """Write a text file, with the directories above it. It is recorded as a bash cell of the notebook."""
    result = await run_cell(ctx, _writing_cell(path, text), "bash")
    return f"Wrote {len(text.encode())} bytes to {path}." if result == "(no output)" else result


async def read_file(ctx: Context, path: Annotated[str, Field(description="Relative to the workspace.")]) -> str:
    """Read a text file. Of a long one you get the beginning; use run_code for the rest."""
    limit = ctx.deps.result_characters
    try:
        head, size = await ctx.deps.workspace.read_head(path, limit * 4)
    except _REFUSALS as error:
        raise ToolFailed(error.message) from error
    if b"\0" in head:
        raise ToolFailed(f"{path} is not a text file ({size:,} bytes). Read it with code.")
    text = head.decode(errors="replace")
    if size <= len(head) and len(text) <= limit:
        return text or "(the file is empty)"
    return f"{text[:limit]}\n[... the file has {size:,} bytes; this is its beginning ...]"


async def list_files(
    ctx: Context, path: Annotated[str, Field(description="A directory, relative to the workspace.")] = "."
) -> str:
    """List a directory of the workspace: names, types and sizes."""
    try:
        entries = await ctx.deps.workspace.entries(path)
    except _REFUSALS as error:
        raise ToolFailed(error.message) from error
    lines = [_entry_line(entry) for entry in entries[:_SHOWN_ENTRIES]]
    if len(entries) > _SHOWN_ENTRIES:
        lines.append(f"[... and {len(entries) - _SHOWN_ENTRIES:,} more ...]")
    return shorten("\n".join(lines), ctx.deps.result_characters) or "(the directory is empty)"


async def install_packages(
    ctx: Context,
    packages: Annotated[list[str] | None, Field(description="Of Python, as pip takes them: polars>=1.0")] = None,
    apt: Annotated[list[str] | None, Field(description="Names of Debian packages, such as graphviz")] = None,
    npm: Annotated[list[str] | None, Field(description="As npm takes them, such as left-pad@1")] = None,
) -> ToolResult:
    """Install packages into the sandbox, of Python, Debian or npm. Only where the sandbox has a network."""
    try:
        wanted = steps(apt=apt, python=packages, npm=npm)
    except InvalidArgumentError as error:
        raise ToolFailed(error.message) from error
    if ctx.deps.egress.mode != "internet" and not ctx.deps.egress.rules:
        raise ToolFailed(_NO_NETWORK.format(packages=", ".join([*(packages or ()), *(apt or ()), *(npm or ())])))
    return await run_cell(ctx, " &&\n".join(step.code for step in wanted), "bash")


async def run_cell(ctx: Context, code: str, language: Language, branch: Branch | None = None) -> ToolResult:
    """Ask for a person's yes where the turn asks, run the cell, and give what the model may see of it."""
    writer = ctx.deps.writer
    tool_call_id = ctx.tool_call_id or f"call_{ctx.run_step}"
    decision = await writer.approval(code, language, tool_call_id, branch)
    if decision is not None and not decision.approved:
        return _DENIED
    observed = await writer.run(code, language, tool_call_id, decision, branch)
    return _told(observed, sees_images=ctx.deps.sees_images)


def _told(observed: Observed, *, sees_images: bool) -> ToolResult:
    """Text, and the images for a model that sees; the others are told that there were some."""
    if not observed.images:
        return observed.text
    if not sees_images:
        kinds = ", ".join(image.media_type for image in observed.images)
        return f"{observed.text}\n[shown to the person, not to you: {kinds}]"
    return [
        observed.text,
        *(BinaryContent(data=image.data, media_type=image.media_type) for image in observed.images),
    ]


def _writing_cell(path: str, text: str) -> str:
    """A bash cell that writes the file; the mark that ends the text is one that the text does not hold."""
    mark = "EOF"
    while re.search(rf"^{mark}$", text, re.MULTILINE):
        mark += "_"
    directory, _, _ = path.rpartition("/")
    make = f"mkdir -p -- {shlex.quote(directory)} && " if directory else ""
    body = text if text.endswith("\n") or not text else text + "\n"
    return f"{make}cat > {shlex.quote(path)} <<'{mark}'\n{body}{mark}"


def _entry_line(entry: FileEntry) -> str:
    if entry.type == "directory":
        return f"{entry.name}/"
    return f"{entry.name}  {entry.size:,} bytes" + ("" if entry.type == "file" else f" ({entry.type})")


def tools() -> list[Tool[ToolContext]]:
    """All of them; one runs at a time, because there is one kernel and one notebook."""
    functions = (run_code, write_file, read_file, list_files, install_packages)
    return [Tool(function, takes_ctx=True, sequential=True) for function in functions]
