"""The MCP server: the protocol's requests into tools and resources, for one session.

Whoever runs it decides the transport (``http``, ``stdio``); its lifespan is the session, whose sandboxes end when
the transport does, however that ends. Stands on the official package's low-level server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError
from mcp.shared.jsonrpc_dispatcher import progress_token_from_params

from podflare_nb import __version__
from podflare_nb.client import AsyncClient

from . import catalog, resources
from .progress import Progress
from .session import CLOSING_SECONDS, ToolSession
from .tools import ACTIONS, Call, run_tool

LONGEST_NAME = 200
"""Of what a client says of itself and of its request: the notebook's fields take no more."""

Context = ServerRequestContext[ToolSession, Any]


def make_server(client: AsyncClient, *, template: str | None = None) -> Server[ToolSession]:
    """Make the server of one session, which acts with ``client``'s key. ``template``: of the session's sandbox."""

    @asynccontextmanager
    async def lifespan(_server: Server[ToolSession]) -> AsyncIterator[ToolSession]:
        session = ToolSession(client, template=template)
        try:
            yield session
        finally:
            # Its transport may be ending this by cancelling it.
            with anyio.move_on_after(CLOSING_SECONDS, shield=True):
                await session.close()

    return Server(
        "podflare-nb",
        version=__version__,
        title="podflare_nb: notebooks in sandboxes",
        instructions=catalog.INSTRUCTIONS,
        lifespan=lifespan,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_resource_templates,
        on_read_resource=read_resource,
    )


async def list_tools(_context: Context, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    """Answer ``tools/list``."""
    return types.ListToolsResult(tools=list(catalog.TOOLS))


async def call_tool(context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
    """Answer ``tools/call``. A tool that is not there is a fault of the client, not of the model."""
    if params.name not in ACTIONS:
        raise MCPError(types.INVALID_PARAMS, f"There is no tool {params.name[:LONGEST_NAME]!r}.")
    call = Call(params.arguments or {}, printable(context.request_id), operator_of(context), progress_of(context))
    return await run_tool(context.lifespan_context, params.name, call)


async def list_resources(context: Context, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
    """Answer ``resources/list``."""
    cursor = params.cursor if params is not None else None
    return await resources.list_notebooks(context.lifespan_context.client, cursor, context.protocol_version)


async def list_resource_templates(
    _context: Context, _params: types.PaginatedRequestParams | None
) -> types.ListResourceTemplatesResult:
    """Answer ``resources/templates/list``."""
    return types.ListResourceTemplatesResult(resource_templates=resources.TEMPLATES)


async def read_resource(context: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    """Answer ``resources/read``."""
    return await resources.read_notebook(context.lifespan_context.client, params.uri, context.protocol_version)


def progress_of(context: Context) -> Progress | None:
    """What tells of progress, if the request asked for it."""
    if progress_token_from_params(context.params) is None:
        return None

    async def tell(seconds: float, message: str) -> None:
        await context.session.report_progress(seconds, message=message)

    return Progress(tell)


def operator_of(context: Context) -> str | None:
    """The client's name and version, for the notebook; a client says of itself what it likes."""
    said = context.session.client_params
    if said is None:
        return None
    return printable(f"{said.client_info.name} {said.client_info.version}".strip()) or None


def printable(value: object) -> str:
    """What a client sent, as a short line."""
    return "".join(character for character in str(value) if character.isprintable())[:LONGEST_NAME]
