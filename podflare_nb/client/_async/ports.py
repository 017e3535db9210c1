"""Ports of a sandbox: what listens there, where it is reached, and links to show it to others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podflare_nb.client.paths import url_segment
from podflare_nb.client.ports import PortInfo, PortLink

if TYPE_CHECKING:
    from podflare_nb.client._async.calls import AsyncCalls


class AsyncPorts:
    """The part of a sandbox that serves. Branches of one family have one network, hence the same ports."""

    _calls: AsyncCalls

    async def ports(self) -> list[PortInfo]:
        """List what listens, by number."""
        return [PortInfo.from_json(row) for row in await self._calls.call("GET", "/ports")]

    def port_url(self, port: int) -> str:
        """Give the URL at which you reach a port, whatever listens there: it ends in a slash; paths go behind it.

        Requests need your key in the Authorization header; a browser needs to be logged in.
        """
        return f"{self._calls.connection.endpoint.url}/sandboxes/{url_segment(self._calls.id)}/ports/{port}/"

    async def port_link(self, port: int, *, expires_seconds: int | None = None) -> PortLink:
        """Make a link that shows a port to whoever has it, for an hour unless named (1 to 86400 seconds).

        It ends before that when the links are revoked, or with the sandbox.
        """
        body = {"expires_seconds": expires_seconds}
        return PortLink.from_json(await self._calls.call("POST", f"/ports/{port}/links", body))

    async def revoke_port_links(self, port: int) -> None:
        """End all links of a port, with what goes on by them."""
        await self._calls.call("DELETE", f"/ports/{port}/links", repeat="always")
