"""New connections that the router refused since their sandbox had too many: counted by Linux, told once a second.

The rules have a counter for each sandbox's address (``rules.over_limits``). They say how many it were, not where to:
to tell of each would be work for us that a sandbox can make as much of as it likes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping

from ...protocol.egress import Address
from . import nftables
from .config import ConnectionLimits
from .router import Router
from .rules import TABLE, over_limits
from .sandbox_network import SandboxNetwork

log = logging.getLogger(__name__)
SECONDS = 1.0


class LimitRefusals:
    """``run`` tells each network of its own. ``networks``: all that there are, also those that ended just now."""

    def __init__(
        self, router: Router, limits: ConnectionLimits, networks: Callable[[], Iterable[SandboxNetwork]]
    ) -> None:
        self._router = router
        self._networks = networks
        self._seen: dict[Address, int] = {}
        self._why = (
            f"a sandbox may have {limits.at_once} at once, and {limits.per_second} new ones a second "
            f"({limits.burst} in a burst)."
        )

    def __repr__(self) -> str:
        return f"<LimitRefusals {len(self._seen)}>"

    async def run(self) -> None:
        """For good."""
        with nftables.open_netlink(self._router.namespace) as netlink:
            while True:
                await asyncio.sleep(SECONDS)
                if not any(network.addresses for network in self._networks()):
                    continue
                try:
                    counted = [nftables.counts(netlink, TABLE, over_limits(version)) for version in (4, 6)]
                except OSError:
                    log.exception("What was refused by limits cannot be read")
                    return
                self.hear(counted[0] | counted[1])

    def hear(self, counted: Mapping[Address, int]) -> None:
        """Of each address, how many there were so far. A counter that is lower than it was began anew."""
        new = {}
        for source, count in counted.items():
            before = self._seen.get(source, 0)
            if count != before:
                new[str(source)] = count - before if count > before else count
        self._seen = dict(counted)
        for network in self._networks() if new else ():
            count = sum(new.get(address, 0) for address in network.addresses)
            if count:
                network.heard([self._record(count)])

    def _record(self, count: int) -> dict[str, object]:
        were = "connection was" if count == 1 else "connections were"
        return {
            "verdict": "refused", "protocol": "any", "host": "any", "port": None, "sent": 0, "received": 0,
            "reason": f"{count} new {were} refused: {self._why}", "count": count,
        }  # fmt: skip
