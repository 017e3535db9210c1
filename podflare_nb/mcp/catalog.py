"""The tools as a client is told of them: names, descriptions, schemas and hints. Nothing here runs anything.

The descriptions are for models: what the tool does, what it gives, what to do next. Each tool costs the host a
place in every request, so there are few, with few arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import mcp_types as types

from podflare_nb.integrations.code_tool import DEFAULT_LIMIT, DEFAULT_SECONDS

INSTRUCTIONS = """\
Live Jupyter notebooks for running code, each in a sandbox of its own. Begin with run_python or run_bash: the first \
call makes a sandbox, later calls without a sandbox_id go on in it, and variables, imports and files stay. Use fork \
to try several ways from the same state, diff to compare them and merge_into to keep one. Everything that runs is \
recorded as cells of the sandbox's notebook. Sandboxes end with this session unless they were created with keep. \
What code may reach over the network is set for each sandbox (egress); when a connection is refused, the output says \
why."""

_SANDBOX = {
    "type": "string",
    "description": "The sandbox, as sbx_...; leave it out for this session's own.",
}
_SECONDS = {
    "type": "integer",
    "description": f"Interrupt the code after so many seconds (default {DEFAULT_SECONDS:.0f}).",
}
_PATH = {"type": "string", "description": "Relative to the working directory, as in data/sales.csv."}
_CHARACTERS = {
    "type": "integer",
    "description": f"Give at most so many characters, head and tail (default {DEFAULT_LIMIT}).",
}


def _object(properties: Mapping[str, Mapping[str, Any]], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: dict(one) for name, one in properties.items()},
        "required": list(required),
        "additionalProperties": False,
    }


def _output(properties: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: dict(one) for name, one in properties.items()}} | {
        "required": list(properties)
    }


_STRING = {"type": "string"}
_STRINGS = {"type": "array", "items": {"type": "string"}}
_COUNTS = _output({name: {"type": "integer"} for name in ("added", "removed", "modified")})
_CHANGES = _output(dict.fromkeys(("added", "removed", "changed"), _STRINGS))

_READS = types.ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
_ADDS = types.ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)
_CHANGES_THINGS = types.ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=False)
_ENDS = types.ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)

RUN_PYTHON = types.Tool(
    name="run_python",
    title="Run Python",
    description=(
        "Run Python code in a live notebook kernel and get what it printed, the value of its last expression and "
        "its plots as images. Variables, imports and files stay from call to call. Code that fails gives its "
        "traceback. Long output is cut in the middle: print summaries, or write to a file and download it."
    ),
    input_schema=_object(
        {
            "code": {"type": "string", "description": "Python; IPython's syntax works, too."},
            "sandbox_id": _SANDBOX,
            "timeout_seconds": _SECONDS,
        },
        "code",
    ),
    annotations=_CHANGES_THINGS,
)

RUN_BASH = types.Tool(
    name="run_bash",
    title="Run bash",
    description=(
        "Run a bash script in the same directory as run_python's code, in a fresh process each time: files stay, "
        "shell variables and cd do not. Gives its output; is an error when its exit code is not 0."
    ),
    input_schema=_object(
        {
            "code": {"type": "string", "description": "The script."},
            "sandbox_id": _SANDBOX,
            "timeout_seconds": _SECONDS,
        },
        "code",
    ),
    annotations=_CHANGES_THINGS,
)

CREATE_SANDBOX = types.Tool(
    name="create_sandbox",
    title="Create a sandbox",
    description=(
        "Make a new, empty sandbox; calls without a sandbox_id go to it from then on. Only needed for another "
        "template, other limits or a clean start: run_python makes a sandbox by itself."
    ),
    input_schema=_object(
        {
            "template": {"type": "string", "description": "Its template, which decides what is installed."},
            "timeout_seconds": {"type": "integer", "description": "Its whole lifetime."},
            "idle_timeout_seconds": {"type": "integer", "description": "How long it may be unused."},
            "ram_mib": {"type": "integer", "description": "Its memory, in MiB."},
            "rootfs_gb": {"type": "integer", "description": "Its disk, in GiB."},
            "egress": {
                "type": ["boolean", "object"],
                "properties": {"allow": _STRINGS},
                "description": "What it may reach: true (the public internet), false (nothing) or only some hosts, as "
                'in {"allow": ["files.example.org", "*.example.com:443"]}.',
            },
            "keep": {"type": "boolean", "description": "Let it outlive this session; somebody has to end it."},
        }
    ),
    output_schema=_output({"sandbox_id": _STRING, "template": _STRING, "egress": {}, "notebook": _STRING}),
    annotations=_ADDS,
)

FORK = types.Tool(
    name="fork",
    title="Fork a sandbox",
    description=(
        "Make n branches of a sandbox in a fraction of a second, each with its variables, files and notebook, apart "
        "from then on. Run a different attempt in each by its sandbox_id, then merge_into the best one and "
        "destroy_sandbox the others. Gives the branches' ids and what could not come along."
    ),
    input_schema=_object(
        {
            "n": {"type": "integer", "description": "How many, 1 to 32 (default 1)."},
            "sandbox_id": _SANDBOX,
        }
    ),
    output_schema=_output(
        {
            "sandbox_id": _STRING,
            "branches": _STRINGS,
            "warnings": _STRINGS,
            "failures": _STRINGS,
        }
    ),
    annotations=_ADDS,
)

MERGE_INTO = types.Tool(
    name="merge_into",
    title="Merge a branch",
    description=(
        "Make a sandbox what one of its branches is: its variables, files and notebook. The sandbox keeps its id, "
        "what it held itself since the fork is gone, and the branch's id is used up. Other branches live on."
    ),
    input_schema=_object(
        {"winner": {"type": "string", "description": "The branch to keep, as sbx_..."}, "sandbox_id": _SANDBOX},
        "winner",
    ),
    output_schema=_output({"sandbox_id": _STRING, "merged": _STRING}),
    annotations=_CHANGES_THINGS,
)

DIFF = types.Tool(
    name="diff",
    title="Compare sandboxes",
    description=(
        "Tell what another branch of the same family has more (+), less (-) or otherwise (~) than this sandbox: "
        "files, variables and notebook cells."
    ),
    input_schema=_object(
        {"other": {"type": "string", "description": "The branch to compare with, as sbx_..."}, "sandbox_id": _SANDBOX},
        "other",
    ),
    output_schema=_output({"files": _CHANGES, "variables": _CHANGES, "cells": _COUNTS}),
    annotations=_READS,
)

UPLOAD = types.Tool(
    name="upload",
    title="Write a file",
    description="Write a file into a sandbox, whole; parent directories are made. For text that you have at hand.",
    input_schema=_object(
        {
            "path": _PATH,
            "content": {"type": "string", "description": "Text, written as UTF-8."},
            "content_base64": {"type": "string", "description": "Bytes instead of text, as base64."},
            "sandbox_id": _SANDBOX,
        },
        "path",
    ),
    output_schema=_output({"sandbox_id": _STRING, "path": _STRING, "size": {"type": "integer"}}),
    annotations=_ENDS,
)

DOWNLOAD = types.Tool(
    name="download",
    title="Read a file",
    description=(
        "Give a file of a sandbox: text as text, pictures as images, anything else as bytes; for a directory, what "
        "is in it. Long text is cut in the middle."
    ),
    input_schema=_object({"path": _PATH, "max_characters": _CHARACTERS, "sandbox_id": _SANDBOX}, "path"),
    annotations=_READS,
)

NOTEBOOK = types.Tool(
    name="notebook",
    title="Read the notebook",
    description=(
        "Give the notebook of a sandbox, also of one that has ended: every cell that ran, with its output. Long "
        "notebooks are cut in the middle; the resource that it links to is the whole .ipynb file."
    ),
    input_schema=_object(
        {
            "format": {
                "type": "string",
                "enum": ["md", "py", "ipynb"],
                "description": "md, readable (the default); py, the code alone; ipynb, JSON.",
            },
            "max_characters": _CHARACTERS,
            "sandbox_id": _SANDBOX,
        }
    ),
    annotations=_READS,
)

RECORD = types.Tool(
    name="record",
    title="Write into the notebook",
    description=(
        "Write text (Markdown) into the sandbox's notebook, beside the code: what you found, decided or answered, for "
        "whoever reads the notebook later."
    ),
    input_schema=_object(
        {"text": {"type": "string", "description": "Markdown."}, "sandbox_id": _SANDBOX},
        "text",
    ),
    annotations=_ADDS,
)

LIST_SANDBOXES = types.Tool(
    name="list_sandboxes",
    title="List sandboxes",
    description="List the live sandboxes of this key, newest first, those of other sessions included.",
    input_schema=_object({}),
    output_schema=_output(
        {
            "sandboxes": {
                "type": "array",
                "items": _output(
                    {
                        "sandbox_id": _STRING,
                        "state": _STRING,
                        "template": _STRING,
                        "own": {"type": "boolean"},
                    }
                ),
            },
            "more": {"type": "boolean"},
        }
    ),
    annotations=_READS,
)

DESTROY_SANDBOX = types.Tool(
    name="destroy_sandbox",
    title="End a sandbox",
    description=(
        "End a sandbox: its processes, variables and files are gone, its notebook stays. Without a sandbox_id: this "
        "session's own; the next run starts a new one."
    ),
    input_schema=_object({"sandbox_id": _SANDBOX}),
    output_schema=_output({"sandbox_id": _STRING}),
    annotations=_ENDS,
)

TOOLS: Sequence[types.Tool] = (
    RUN_PYTHON,
    RUN_BASH,
    CREATE_SANDBOX,
    FORK,
    MERGE_INTO,
    DIFF,
    UPLOAD,
    DOWNLOAD,
    NOTEBOOK,
    RECORD,
    LIST_SANDBOXES,
    DESTROY_SANDBOX,
)
