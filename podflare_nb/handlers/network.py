"""What a sandbox may reach, and what it has."""

from __future__ import annotations

from dataclasses import asdict

from tornado import web

from ..protocol.responses import NetworkConnection, NetworkInfo
from .authorization import authorized
from .base import PodflareHandler
from .sandboxes import egress_shown


class NetworkHandler(PodflareHandler):
    """``/v1/sandboxes/{id}/network``."""

    @web.authenticated
    @authorized("read", resource="podflare_nb:sandboxes")
    async def get(self, sandbox_id: str) -> None:
        """Tell the policy, the bytes, and the last connections."""
        services = await self.services()
        sandbox = services.sandboxes.get(self.who.tenant.id, sandbox_id)
        usage, log = await sandbox.usage(), sandbox.network_log
        await self.answer(
            NetworkInfo(
                egress=egress_shown(sandbox.egress),
                sent_bytes=usage.sent_bytes,
                received_bytes=usage.received_bytes,
                allowed=log.allowed,
                refused=log.refused,
                untold=log.untold,
                connections=[NetworkConnection(**asdict(each)) for each in log.connections],
            )
        )
