"""Notebooks as MCP resources: those of live sandboxes in a list, that of any sandbox by its URI.

Faults are JSON-RPC errors with the service's sentence: a resource is read by the host, not by the model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import mcp_types as types
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from podflare_nb.client import AsyncClient, GoneError, InvalidArgumentError, NotFoundError, PodflareError

from . import answers
from .contents import notebook_content

PAGE = 100
NOT_FOUND = -32002
"""MCP's code for a resource that is not there, up to 2025-11-25; later versions say that the params are invalid."""

_URI = re.compile(rf"{answers.SCHEME}://sandboxes/([A-Za-z0-9_-]{{1,100}})/notebook\.ipynb")

TEMPLATES = [
    types.ResourceTemplate(
        uri_template=f"{answers.SCHEME}://sandboxes/{{sandbox_id}}/notebook.ipynb",
        name="notebook",
        title="Notebook of a sandbox",
        description="What ran in a sandbox and what came out of it, as a Jupyter notebook; also after its end.",
        mime_type=answers.NOTEBOOK_TYPE,
    )
]


async def list_notebooks(client: AsyncClient, cursor: str | None, version: str) -> types.ListResourcesResult:
    """List the notebooks of live sandboxes, newest first, a page at a time."""
    params: dict[str, str | int] = {"limit": PAGE}
    if cursor is not None:
        params["cursor"] = cursor
    with _told(version):
        page = await client.connection.call("GET", "/v1/sandboxes", params=params)
    notebooks = [
        types.Resource(
            uri=answers.notebook_uri(one["id"]),
            name=f"{one['id']}.ipynb",
            title=one.get("title") or f"Notebook of {one['id']}",
            mime_type=answers.NOTEBOOK_TYPE,
        )
        for one in page["sandboxes"]
    ]
    return types.ListResourcesResult(resources=notebooks, next_cursor=page.get("next_cursor"))


async def read_notebook(client: AsyncClient, uri: str, version: str) -> types.ReadResourceResult:
    """Give a notebook."""
    found = _URI.fullmatch(uri)
    if found is None:
        raise _refusal(f"There is no resource {uri[:200]}; notebooks are {TEMPLATES[0].uri_template}.", version)
    with _told(version):
        content = await notebook_content(client, found.group(1), "ipynb")
    text = types.TextResourceContents(uri=uri, mime_type=answers.NOTEBOOK_TYPE, text=content.decode())
    return types.ReadResourceResult(contents=[text])


@contextmanager
def _told(version: str) -> Iterator[None]:
    """What the service refuses, as JSON-RPC tells it."""
    try:
        yield
    except (NotFoundError, GoneError) as error:
        raise _refusal(error.message, version) from error
    except InvalidArgumentError as error:
        raise MCPError(types.INVALID_PARAMS, error.message) from error
    except PodflareError as error:
        raise MCPError(types.INTERNAL_ERROR, error.message) from error


def _refusal(sentence: str, version: str) -> MCPError:
    return MCPError(types.INVALID_PARAMS if version in MODERN_PROTOCOL_VERSIONS else NOT_FOUND, sentence)
