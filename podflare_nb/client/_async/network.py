"""The part of a sandbox that is about its network: what it may reach, what it has reached, what it was refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from podflare_nb.client.networks import NetworkInfo, egress_of
from podflare_nb.client.records import SandboxInfo

if TYPE_CHECKING:
    from podflare_nb.client._async.calls import AsyncCalls
    from podflare_nb.client.networks import Egress


class AsyncNetwork:
    """A network belongs to the family: all branches of a sandbox have the same."""

    _calls: AsyncCalls

    @property
    async def egress(self) -> Egress:
        """What it may reach now: the service is asked each time."""
        return egress_of(await self._calls.call("GET"))

    async def set_egress(self, egress: Egress) -> SandboxInfo:
        """Let it, and all branches of its family, reach this from now on."""
        return SandboxInfo.from_json(await self._calls.call("PATCH", "", {"egress": egress}, repeat="always"))

    async def network(self) -> NetworkInfo:
        """Ask for the policy, the bytes, and the last connections, those that were refused too, with the reasons."""
        return NetworkInfo.from_json(await self._calls.call("GET", "/network"))
