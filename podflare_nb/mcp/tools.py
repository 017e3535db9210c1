"""What each tool does: checked arguments into calls of the client, and their outcome into an answer.

Nothing that a model, a sandbox or the service can cause is raised: it is an answer with ``is_error`` and a sentence.
``catalog`` describes the tools, ``answers`` makes the answers, ``server`` stands above.
"""

from __future__ import annotations

import base64
import binascii
import mimetypes
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import mcp_types as types

from podflare_nb.client import AsyncSandbox, Diff, GoneError, MergedError, NotFoundError, PodflareError
from podflare_nb.integrations.arguments import read_arguments
from podflare_nb.integrations.code_tool import DEFAULT_LIMIT, DEFAULT_SECONDS, result_outcome
from podflare_nb.protocol.observation import shorten

from . import answers, catalog
from .contents import file_content, notebook_content
from .progress import Progress
from .session import ToolSession

MOST_LISTED = 200
"""Rows of a list that a model is given."""

MOST_CHARACTERS = 400_000
"""That a call may ask for."""

_PICTURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool: its arguments, who asked, and how to tell of progress (None: nobody asked for it)."""

    arguments: Mapping[str, Any]
    call_id: str
    operator: str | None = None
    progress: Progress | None = None

    def get(self, name: str, default: Any = None) -> Any:
        """An argument; ``default`` when it was left out."""
        return self.arguments.get(name, default)


Action = Callable[[ToolSession, Call], Awaitable[types.CallToolResult]]


async def run_tool(session: ToolSession, name: str, call: Call) -> types.CallToolResult:
    """Run a tool of the catalog. Raises KeyError for one that is not there."""
    action, schema = ACTIONS[name]
    given = read_arguments(call.arguments, schema)
    if isinstance(given, str):
        return answers.fault(given)
    named = given.get("sandbox_id") or session.own_id
    try:
        return await action(session, Call(given, call.call_id, call.operator, call.progress))
    except PodflareError as error:
        if isinstance(error, GoneError | MergedError) and named is not None:
            session.forget(named)
        return answers.failed(error)


async def run_python(session: ToolSession, call: Call) -> types.CallToolResult:
    """Run Python."""
    return await _run(session, call, "python")


async def run_bash(session: ToolSession, call: Call) -> types.CallToolResult:
    """Run bash."""
    return await _run(session, call, "bash")


async def _run(session: ToolSession, call: Call, language: Literal["python", "bash"]) -> types.CallToolResult:
    sandbox = await session.sandbox(call.get("sandbox_id"))
    progress = call.progress
    async with progress.telling() if progress is not None else nullcontext():
        result = await sandbox.run_code(
            call.get("code"),
            language,
            timeout_seconds=call.get("timeout_seconds", DEFAULT_SECONDS),
            on_stdout=progress.line if progress is not None else None,
            tool_call_id=call.call_id,
            operator=call.operator,
        )
    meta = {"sandbox": sandbox.id, "status": result.status, "exit_code": result.exit_code, "cell": result.cell_id}
    return answers.ran(result_outcome(result), meta)


async def create_sandbox(session: ToolSession, call: Call) -> types.CallToolResult:
    """Make a sandbox; it is the session's own from then on."""
    sandbox = await session.create(**call.arguments)
    info = await sandbox.info()
    template = info.template or ""
    lasts = "It stays when this session ends." if call.get("keep") else "It ends with this session."
    return answers.told(
        f"{sandbox.id} is ready ({template}); calls without a sandbox_id go to it now. {lasts}",
        {
            "sandbox_id": sandbox.id,
            "template": template,
            "egress": info.egress,
            "notebook": answers.notebook_uri(sandbox.id),
        },
    )


async def fork(session: ToolSession, call: Call) -> types.CallToolResult:
    """Make branches."""
    sandbox = await session.sandbox(call.get("sandbox_id"))
    made = await session.fork(sandbox, call.get("n", 1))
    branches = [branch.id for branch in made]
    lines = [f"Branches of {sandbox.id}: {', '.join(branches) or 'none'}.", *made.warnings, *made.failures]
    structured = {
        "sandbox_id": sandbox.id,
        "branches": branches,
        "warnings": list(made.warnings),
        "failures": list(made.failures),
    }
    answer = answers.told(shorten("\n".join(lines), DEFAULT_LIMIT), structured)
    answer.is_error = not branches
    return answer


async def merge_into(session: ToolSession, call: Call) -> types.CallToolResult:
    """Make a sandbox what its branch is."""
    winner_id = call.get("winner")
    sandbox = await _existing(session, call)
    winner = await session.sandbox(winner_id)
    await sandbox.merge_into(winner)
    session.forget(winner_id)
    return answers.told(
        f"{sandbox.id} is what {winner_id} was; {winner_id} is used up.",
        {"sandbox_id": sandbox.id, "merged": winner_id},
    )


async def diff(session: ToolSession, call: Call) -> types.CallToolResult:
    """Compare two sandboxes."""
    sandbox = await _existing(session, call)
    found = await sandbox.diff(call.get("other"))
    return answers.told(shorten(str(found), DEFAULT_LIMIT), _structured_diff(found))


def _structured_diff(found: Diff) -> dict[str, Any]:
    variables = found.variables
    return {
        "files": {name: found[kind][:MOST_LISTED] for name, kind in _FILES.items()},
        "variables": {
            "added": [one.name for one in variables.added[:MOST_LISTED]],
            "removed": [one.name for one in variables.removed[:MOST_LISTED]],
            "changed": [one.name for one in variables.changed[:MOST_LISTED]],
        },
        "cells": {"added": found.cells.added, "removed": found.cells.removed, "modified": found.cells.modified},
    }


_FILES = {"added": "added", "removed": "removed", "changed": "modified"}


async def upload(session: ToolSession, call: Call) -> types.CallToolResult:
    """Write a file."""
    text, encoded = call.get("content"), call.get("content_base64")
    if (text is None) == (encoded is None):
        return answers.fault("Give either content (text) or content_base64 (bytes).")
    try:
        content = text.encode() if text is not None else base64.b64decode(encoded, validate=True)
    except UnicodeEncodeError:
        return answers.fault("The content holds a surrogate, which is no character; send it as content_base64.")
    except binascii.Error:
        return answers.fault("content_base64 is not valid base64.")
    sandbox = await session.sandbox(call.get("sandbox_id"))
    written = await sandbox.files.write(call.get("path"), content)
    return answers.told(
        f"Wrote {written.path} ({written.size} bytes).",
        {"sandbox_id": sandbox.id, "path": written.path, "size": written.size},
    )


async def download(session: ToolSession, call: Call) -> types.CallToolResult:
    """Give a file, or what is in a directory."""
    sandbox = await _existing(session, call)
    path = call.get("path")
    info = await sandbox.files.stat(path)
    if info.is_dir:
        return answers.told(shorten(await _listing(sandbox, path), _limit(call)))
    content = await file_content(session.client, sandbox.id, path)
    for magic, media_type in _PICTURES.items():
        if content.startswith(magic):
            return answers.shown([answers.picture(content, media_type)])
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\x00"
    if "\x00" not in text:
        return answers.told(shorten(text, _limit(call)) or "(an empty file)")
    media_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
    return answers.shown([answers.blob(content, answers.file_uri(sandbox.id, path), media_type)])


async def _listing(sandbox: AsyncSandbox, path: str) -> str:
    entries = await sandbox.files.list(path)
    lines = [f"{one.path}/" if one.is_dir else f"{one.path} ({one.size} bytes)" for one in entries]
    return "\n".join(lines) or f"{path} is an empty directory."


async def notebook(session: ToolSession, call: Call) -> types.CallToolResult:
    """Give the notebook, and a link to the whole of it."""
    sandbox_id = call.get("sandbox_id") or session.own_id
    if sandbox_id is None:
        return answers.fault(_NONE_YET)
    content = await notebook_content(session.client, sandbox_id, call.get("format", "md"))
    text = types.TextContent(text=shorten(content.decode(), _limit(call)))
    return answers.shown([text, answers.notebook_link(sandbox_id)])


async def record(session: ToolSession, call: Call) -> types.CallToolResult:
    """Write into the notebook."""
    sandbox = await _existing(session, call)
    await sandbox.record(call.get("text"), operator=call.operator)
    return answers.told("Written into the notebook.")


async def list_sandboxes(session: ToolSession, _call: Call) -> types.CallToolResult:
    """List what lives."""
    found = [info async for info in session.client.sandboxes()]
    rows = [
        {
            "sandbox_id": info.id,
            "state": info.state,
            "template": info.template or "",
            "own": info.id == session.own_id,
        }
        for info in islice(found, MOST_LISTED)
    ]
    lines = [f"{row['sandbox_id']} {row['state']} {row['template']}{' (own)' if row['own'] else ''}" for row in rows]
    text = "\n".join(lines) or "There are no sandboxes."
    return answers.told(text, {"sandboxes": rows, "more": len(found) > len(rows)})


async def destroy_sandbox(session: ToolSession, call: Call) -> types.CallToolResult:
    """End a sandbox."""
    sandbox = await _existing(session, call)
    await sandbox.close()
    session.forget(sandbox.id)
    return answers.told(f"{sandbox.id} has ended; its notebook stays.", {"sandbox_id": sandbox.id})


_NONE_YET = "This session has no sandbox yet: run_python and run_bash make one, or name one with sandbox_id."


async def _existing(session: ToolSession, call: Call) -> AsyncSandbox:
    """The named sandbox or the session's own. Raises NotFoundError where there is none: none is made for this."""
    sandbox_id = call.get("sandbox_id") or session.own_id
    if sandbox_id is None:
        raise NotFoundError(_NONE_YET)
    return await session.sandbox(sandbox_id)


def _limit(call: Call) -> int:
    wanted: int = call.get("max_characters", DEFAULT_LIMIT)
    return max(1, min(wanted, MOST_CHARACTERS))


_OF: dict[str, Action] = {
    "run_python": run_python,
    "run_bash": run_bash,
    "create_sandbox": create_sandbox,
    "fork": fork,
    "merge_into": merge_into,
    "diff": diff,
    "upload": upload,
    "download": download,
    "notebook": notebook,
    "record": record,
    "list_sandboxes": list_sandboxes,
    "destroy_sandbox": destroy_sandbox,
}

ACTIONS = {tool.name: (_OF[tool.name], tool.input_schema) for tool in catalog.TOOLS}
"""What each tool of the catalog does, with the schema that its arguments are checked against."""
