"""The API's description, made once of the wire types and the table of calls (``protocol.openapi``)."""

from __future__ import annotations

import json
from functools import cache

from jupyter_server.utils import url_path_join
from tornado import web

from .. import __version__
from ..protocol.openapi import document
from .authorization import authorized
from .base import PodflareHandler


class OpenapiHandler(PodflareHandler):
    """``GET /v1/openapi.json``."""

    @web.authenticated
    @authorized("read", resource="podflare_nb:capabilities")
    async def get(self) -> None:
        """Send the document, with this server's base URL in it."""
        await self.finish(_text(url_path_join(self.base_url, "podflare")))


@cache
def _text(server: str) -> str:
    return json.dumps(document(__version__, server), ensure_ascii=False)
