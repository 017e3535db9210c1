"""What a tool answers, in MCP's types: text, pictures, files, links, and faults as sentences.

A fault is an answer with ``is_error``, never an exception: the model is to read it and act. Pure; ``tools`` stand
above.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import mcp_types as types

from podflare_nb.client import GoneError, MergedError, NotFoundError, PodflareError
from podflare_nb.integrations.code_tool import ToolOutcome, failure_outcome

SCHEME = "podflare-nb"
META = "podflare-nb/"
"""Prefix of what an answer tells programs, in its ``_meta``: sandbox, status, exit_code, cell."""

NOTEBOOK_TYPE = "application/x-ipynb+json"

PICTURES_BASE64 = 900_000
"""Of all pictures of one run: with its text they fit into one event of 1 MiB (``large_answers``)."""


def told(text: str, structured: Mapping[str, Any] | None = None) -> types.CallToolResult:
    """Answer with a text, and the same for programs."""
    return types.CallToolResult(
        content=[types.TextContent(text=text)], structured_content=dict(structured) if structured is not None else None
    )


def shown(content: Sequence[types.ContentBlock]) -> types.CallToolResult:
    """Answer with several pieces."""
    return types.CallToolResult(content=list(content))


def ran(outcome: ToolOutcome, meta: Mapping[str, object]) -> types.CallToolResult:
    """Answer with what a run gave: its text, then those of its pictures that fit."""
    pictures: list[types.ImageContent] = []
    text, room = outcome.text, PICTURES_BASE64
    for image in outcome.images:
        shown = picture(image.data, image.media_type)
        if len(shown.data) > room:
            text += f"\n[{image.media_type} of {len(image.data):,} bytes: in the notebook, too big for this answer]"
            continue
        room -= len(shown.data)
        pictures.append(shown)
    return types.CallToolResult(
        content=[types.TextContent(text=text), *pictures],
        is_error=outcome.is_error,
        _meta={META + name: value for name, value in meta.items() if value is not None},
    )


def fault(sentence: str) -> types.CallToolResult:
    """Answer with what is wrong."""
    return types.CallToolResult(content=[types.TextContent(text=sentence)], is_error=True)


def failed(error: PodflareError) -> types.CallToolResult:
    """Answer with what the service said, and what the model can do about it."""
    if isinstance(error, MergedError) and error.merged_into:
        return fault(f"{error.message} Go on with sandbox_id {error.merged_into}.")
    if isinstance(error, GoneError | MergedError):
        return fault(
            f"{error.message} Its variables and files are gone, its notebook stays. The next call without a "
            "sandbox_id starts a new sandbox."
        )
    if isinstance(error, NotFoundError):
        return fault(error.message)
    return fault(failure_outcome(error).text)


def picture(data: bytes, media_type: str) -> types.ImageContent:
    """A picture as the model sees it."""
    return types.ImageContent(data=base64.b64encode(data).decode(), mime_type=media_type)


def blob(data: bytes, uri: str, media_type: str) -> types.EmbeddedResource:
    """Bytes that are no text."""
    encoded = base64.b64encode(data).decode()
    return types.EmbeddedResource(resource=types.BlobResourceContents(uri=uri, mime_type=media_type, blob=encoded))


def notebook_uri(sandbox_id: str) -> str:
    """The resource that is a sandbox's notebook."""
    return f"{SCHEME}://sandboxes/{sandbox_id}/notebook.ipynb"


def file_uri(sandbox_id: str, path: str) -> str:
    """How a file is named in an answer."""
    return f"{SCHEME}://sandboxes/{sandbox_id}/files/{quote(path)}"


def notebook_link(sandbox_id: str) -> types.ResourceLink:
    """A link to the whole notebook, for the host."""
    return types.ResourceLink(
        uri=notebook_uri(sandbox_id),
        name=f"{sandbox_id}.ipynb",
        title=f"Notebook of {sandbox_id}",
        mime_type=NOTEBOOK_TYPE,
    )
