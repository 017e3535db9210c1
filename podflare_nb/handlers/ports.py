"""Ports of a sandbox by the API: what listens, and links to show it. What it serves goes through ``port_proxy``."""

from __future__ import annotations

from datetime import UTC, datetime

from jupyter_server.utils import url_path_join
from tornado import web

from ..protocol.ports import LINK_SECONDS, CreatePortLink, PortInfo, PortLink, PortList
from ..sandboxes.ports import Ports
from .authorization import authorized
from .base import PodflareHandler
from .port_target import port_of

RESOURCE = "podflare_nb:ports"


class PortApiHandler(PodflareHandler):
    """Base of the two."""

    async def ports(self, sandbox_id: str) -> Ports:
        """Find them. Raises NotFoundError, GoneError."""
        services = await self.services()
        return services.sandboxes.get(self.who.tenant.id, sandbox_id).ports

    def url_of(self, sandbox_id: str, port: int) -> str:
        """Where the port is reached, as this client reaches the service."""
        path = url_path_join(self.base_url, "podflare", "sandboxes", sandbox_id, "ports", str(port))
        return f"{self.request.protocol}://{self.request.host}{path}/"


class PortsHandler(PortApiHandler):
    """``GET /v1/sandboxes/{id}/ports``."""

    @web.authenticated
    @authorized("read", resource=RESOURCE)
    async def get(self, sandbox_id: str) -> None:
        """List what listens."""
        found = await (await self.ports(sandbox_id)).listening()
        self.set_header("Cache-Control", "no-store")
        await self.answer(
            PortList(
                [
                    PortInfo(
                        port=each.port,
                        address=each.address,
                        process=each.process,
                        url=self.url_of(sandbox_id, each.port),
                    )
                    for each in found
                ]
            )
        )


class PortLinksHandler(PortApiHandler):
    """``/v1/sandboxes/{id}/ports/{port}/links``."""

    @web.authenticated
    @authorized("execute", resource=RESOURCE)
    async def post(self, sandbox_id: str, port_text: str) -> None:
        """Make a link to show a port to others; nothing needs to listen there yet."""
        request = self.read(CreatePortLink)
        ports, port = await self.ports(sandbox_id), port_of(port_text)
        token, ends_at = ports.links.make(port, request.expires_seconds or LINK_SECONDS)
        url = f"{self.url_of(sandbox_id, port)}~l.{token}/"
        await self.answer(PortLink(url=url, expires_at=datetime.fromtimestamp(ends_at, UTC)), 201)

    @web.authenticated
    @authorized("execute", resource=RESOURCE)
    async def delete(self, sandbox_id: str, port_text: str) -> None:
        """End all links of a port, and what goes on by them."""
        (await self.ports(sandbox_id)).revoke(port_of(port_text))
        self.set_status(204)
        await self.finish()
