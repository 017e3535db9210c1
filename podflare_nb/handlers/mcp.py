"""``/podflare/mcp``: the Model Context Protocol over streamable HTTP, with the keys of every other call.

Lets requests in as every handler does, and hands them to ``podflare_nb.mcp.http``, whose tools call this very
service with the caller's own key (``in_process``). The package mcp is loaded with the first request.
"""

from __future__ import annotations

import asyncio
from types import ModuleType
from typing import Any

from tornado import web

from ..client import AsyncClient
from ..errors import NoCapacityError, UnauthenticatedError
from ..mcp import load
from ..tenants.identity import sent_secret
from .asgi import AsgiExchange
from .authorization import authorized
from .in_process import HOST, InProcessTransport
from .services import ServicesSlot
from .streaming import StreamingHandler

SETTING = "podflare_nb_mcp"
RESOURCE = "podflare_nb:mcp"


class McpHandler(StreamingHandler):
    """POST a message, GET the stream of what the server says by itself, DELETE the session."""

    def initialize(self, **_: Any) -> None:
        """Begin with nothing under way."""
        super().initialize()
        self._exchange: AsgiExchange | None = None

    @web.authenticated
    @authorized("execute", resource=RESOURCE)
    async def post(self) -> None:
        """Take a message."""
        await self._hand_over()

    @web.authenticated
    @authorized("execute", resource=RESOURCE)
    async def get(self) -> None:
        """Open the stream."""
        await self._hand_over()

    @web.authenticated
    @authorized("execute", resource=RESOURCE)
    async def delete(self) -> None:
        """End the session."""
        await self._hand_over()

    async def _hand_over(self) -> None:
        secret = sent_secret(self)
        if secret is None or not self.who.explicit:
            raise UnauthenticatedError("MCP needs an API key: send the header 'Authorization: Bearer <key>'.")
        await self.services()
        module, sessions = await sessions_of(self.settings, self.slot)
        credential = self.who.key.id if self.who.key is not None else self.who.principal
        owner = module.Owner(self.who.tenant.id, credential)
        url = f"http://{HOST}{self.base_url}podflare"
        transport = InProcessTransport(self.application)
        self._exchange = exchange = AsgiExchange(self, self.whole_body())
        await sessions.answer(
            owner,
            lambda: AsyncClient(url, secret, transport=transport),
            exchange.scope,
            exchange.receive,
            exchange.send,
        )

    def on_connection_close(self) -> None:
        """Tell what is under way that the client has gone away; Tornado calls it."""
        super().on_connection_close()
        if self._exchange is not None:
            self._exchange.disconnected()


async def sessions_of(settings: dict[str, Any], slot: ServicesSlot) -> tuple[ModuleType, Any]:
    """Give ``podflare_nb.mcp.http`` and this server's HttpSessions; both come with the first request."""
    loading = settings.get(SETTING)
    if loading is None:
        loading = settings[SETTING] = asyncio.create_task(_load(slot))
    found: tuple[ModuleType, Any] = await asyncio.shield(loading)
    return found


async def _load(slot: ServicesSlot) -> tuple[ModuleType, Any]:
    try:
        # It takes a second, which everybody else's requests should not wait.
        module = await asyncio.to_thread(load, "http")
    except ImportError as error:
        raise NoCapacityError(str(error)) from error
    sessions = module.HttpSessions()
    slot.keep(sessions.aclose)
    return module, sessions
