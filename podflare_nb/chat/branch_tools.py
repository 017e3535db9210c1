"""The tools with which a model tries alternatives: fork, compare, merge, and run_code that takes a branch.

In the model's list only where the service can fork. What a tool answers is bounded; ``turn_branches`` does the work
and tells it in the notebook. Imports pydantic-ai, as ``agent`` does.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_ai import Tool
from pydantic_ai.exceptions import ToolFailed

from ..errors import GoneError, NotFoundError, PodflareError
from ..protocol.observation import shorten
from ..protocol.states import Language
from .tools import Context, ToolContext, ToolResult, run_cell, tools
from .turn_branches import MAIN, TurnBranches

_SENTENCES = 2_000
"""Characters of warnings and failures that a model is told."""


async def run_code(
    ctx: Context,
    code: Annotated[str, Field(description="The whole cell.", examples=["print(6 * 7)"])],
    language: Language = "python",
    branch: Annotated[
        str | None, Field(description="An open branch to run it in; leave it out for the notebook.")
    ] = None,
) -> ToolResult:
    """Run a cell in the notebook and get its outputs. Python state persists; bash is a fresh process each time.

    With branch, it runs in that branch: the notebook does not change. Calls for different branches run in parallel.
    """
    branches = _branches(ctx)
    try:
        chosen = branches.get(branch)
    except NotFoundError as error:
        raise ToolFailed(error.message) from error
    async with chosen.lane:
        if chosen is branches.main:
            return await run_cell(ctx, code, language)
        try:
            return await run_cell(ctx, code, language, chosen)
        except GoneError as error:  # a branch that was closed meanwhile does not end the turn
            raise ToolFailed(f"Branch {chosen.name} is gone. {error.message}") from error


async def fork(
    ctx: Context, n: Annotated[int, Field(description="How many branches, from 1.", examples=[2, 3])] = 2
) -> str:
    """Fork the sandbox into n branches, each with all variables and files of this moment.

    Gives their names, for run_code, compare and merge. What you do in a branch changes nothing elsewhere.
    """
    try:
        forked = await _branches(ctx).fork(n)
    except PodflareError as error:
        raise ToolFailed(error.message) from error
    names = ", ".join(branch.name for branch in forked.branches)
    said = f"Open now: {names}. Run code in them with run_code and branch; merge one to keep it."
    remarks = " ".join((*forked.warnings, *forked.failures))
    return f"{said} {shorten(remarks, _SENTENCES)}".rstrip()


async def compare(
    ctx: Context,
    branch_a: Annotated[str, Field(examples=["a"])],
    branch_b: Annotated[str, Field(description=f"Another branch, or {MAIN} for the notebook.", examples=["b"])],
) -> str:
    """Tell what differs from branch_a to branch_b: files, variables and cells."""
    try:
        return await _branches(ctx).compare(branch_a, branch_b)
    except PodflareError as error:
        raise ToolFailed(error.message) from error


async def merge(ctx: Context, branch: Annotated[str, Field(description="The branch to keep.", examples=["a"])]) -> str:
    """Keep a branch: the notebook now has its variables, files and cells, and goes on from there.

    What was run without a branch since the fork is dropped. The branches that you do not merge are closed when you
    have answered.
    """
    try:
        left = await _branches(ctx).merge(branch)
    except PodflareError as error:
        raise ToolFailed(error.message) from error
    still = f" Still open: {', '.join(left)}." if left else ""
    return f"The notebook is in the state of branch {branch} now. Go on without branch.{still}"


def tools_with_branches() -> list[Tool[ToolContext]]:
    """All tools of ``tools``, with these. Only runs overlap, those of different branches; the others run alone."""
    alone = [tool for tool in tools() if tool.name != "run_code"]
    alone += [Tool(function, takes_ctx=True, sequential=True) for function in (fork, compare, merge)]
    return [Tool(run_code, takes_ctx=True), *alone]


def _branches(ctx: Context) -> TurnBranches:
    branches = ctx.deps.branches
    if branches is None:
        raise ToolFailed("This sandbox cannot be forked.")
    return branches
