"""All networks of a supervisor: the router, the processes that serve sandboxes from outside, and who is told what.

Without a router (a machine that lets nobody forward) sandboxes reach what proxies reach, and the public internet is
refused with the reason.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ...protocol.egress import INTERNET, OFF, Egress
from . import links, listeners, namespaces
from .attendants import Attendant, Order
from .config import NetworkConfig
from .limit_refusals import LimitRefusals
from .netlink import NETLINK_ROUTE, Netlink
from .router import Router
from .sandbox_network import SandboxNetwork

log = logging.getLogger(__name__)
GATEWAY = "podflare_nb.provisioning.network.gateway"
LINGER_SECONDS = 5.0
MIRROR = "podflare_nb.provisioning.network.mirror"


class Networks:
    """``start`` it; ``open`` a network for each jail; ``close`` it when all of them are closed."""

    def __init__(
        self, config: NetworkConfig, name: str, work: Path, *, uids: tuple[int, int], without: tuple[str, ...] = ()
    ) -> None:
        """``work``: a directory of this supervisor's own; ``uids``: host ids for gateway and mirror."""
        self._config = config
        self._work = work
        self._uids = uids
        self._no_internet = ""
        self.router: Router | None = None
        try:
            router = Router(name, config.reach, config.limits, without)
            router.open()
            self.router = router
        except (OSError, StopIteration) as error:
            self._no_internet = str(error)
            log.warning("%s Sandboxes reach only what egress allows by name.", self.why_no_internet())
        self._networks: dict[str, SandboxNetwork] = {}
        self._refusing: asyncio.Task[None] | None = None
        self._mirror_alone: dict[str, int] = {}
        self.gateway = Attendant(GATEWAY, self._all_for_gateway, self._hear_gateway)
        self.mirror = Attendant(MIRROR, self._all_for_mirror, self._hear)

    def __repr__(self) -> str:
        return f"<Networks {len(self._networks)} {self.router!r}>"

    def start(self) -> None:
        """Begin to serve; returns at once."""
        self.gateway.start()
        self.mirror.start()
        if self.router is not None:
            refusals = LimitRefusals(self.router, self._config.limits, lambda: list(self._networks.values()))
            self._refusing = asyncio.create_task(refusals.run())

    def default(self, wanted: Egress | None) -> Egress:
        """What a sandbox gets that asks for nothing, of a template that wants this. Nothing that cannot be had."""
        egress = wanted or self._config.egress
        return OFF if egress.mode == "internet" and self.router is None else egress

    def open(self, namespace: int, egress: Egress) -> SandboxNetwork:
        """For a jail whose network namespace this is. Raises OSError, NoCapacityError."""
        network = SandboxNetwork(self, namespace)
        try:
            network.set_egress(egress)
            self.gateway.tell(*_parts(network.for_gateway()))
            self.mirror.tell(*_parts(network.for_mirror()))
        except BaseException:
            network.close()
            raise
        self._networks[network.id] = network
        return network

    @contextmanager
    def mirror_alone(self) -> Iterator[int]:
        """A new network namespace, as long as the block lasts, where there is nothing but the mirror, with all that the
        operator's indexes have. Raises OSError."""
        name, namespace = secrets.token_hex(8), namespaces.make()
        try:
            with Netlink(NETLINK_ROUTE, namespace) as netlink:
                netlink.ask([links.up(links.LOOPBACK_INDEX)])
            self._mirror_alone[name] = namespace
            self.mirror.tell(*_parts(_mirror_order(name, namespace)))
            yield namespace
        finally:
            self._mirror_alone.pop(name, None)
            self.mirror.tell({"op": "close", "network": name})
            os.close(namespace)

    def why_no_internet(self) -> str:
        """See ``sandbox_network.Surroundings``."""
        return f"The public internet cannot be had on this machine: {self._no_internet}."

    def changed(self, network: SandboxNetwork) -> None:
        """See ``sandbox_network.Surroundings``."""
        if network.id in self._networks and not network.closed:
            for attendant in (self.gateway, self.mirror):
                attendant.tell(*_parts(network.change()))

    def closed(self, network: SandboxNetwork) -> None:
        """See ``sandbox_network.Surroundings``."""
        if network.id in self._networks:
            for attendant in (self.gateway, self.mirror):
                attendant.tell({"op": "close", "network": network.id})
            # What its last connections were is still on its way.
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self._networks.pop, network.id, None)

    def _all_for_gateway(self) -> Iterator[Order]:
        body = {"op": "configure", "uid": self._uids[0], **self._reach()}
        if self.router is None:
            yield Order(body)
        else:
            yield Order(body, self.router.for_gateway())
        yield from self._all(SandboxNetwork.for_gateway)

    def _all_for_mirror(self) -> Iterator[Order]:
        yield Order({
            "op": "configure", "uid": self._uids[1], "config": self._config.packages,
            "cache": str(self._work.parent / "packages"), **self._reach(),
        })  # fmt: skip
        for name, namespace in list(self._mirror_alone.items()):
            yield _mirror_order(name, namespace)
        yield from self._all(SandboxNetwork.for_mirror)

    def _reach(self) -> dict[str, list[str]]:
        """What an attendant is told of addresses."""
        reach = self._config.reach if self.router is None else self.router.reach
        own = reach.own or links.look_around().addresses
        return {
            "own_addresses": [str(address) for address in own],
            "private_networks": [str(each) for each in reach.private],
            "public_networks": [str(each) for each in reach.public],
        }

    def _all(self, order_of: Any) -> Iterator[Order]:
        for network in list(self._networks.values()):
            if network.closed:
                continue
            with suppress(OSError):  # its jail is on its way out
                yield order_of(network)

    def _hear_gateway(self, event: dict[str, Any]) -> None:
        """It waits with what it refuses until the service has been told why."""
        self._hear(event)
        if "number" in event:
            self.gateway.tell({"op": "heard", "number": event["number"]})

    def _hear(self, event: dict[str, Any]) -> None:
        """What a gateway or mirror tells. They are ours, but what they read is not: shapes are checked by readers."""
        if event.get("event") == "traffic":
            for name, (sent, received) in event["networks"].items():
                if (network := self._networks.get(name)) is not None:
                    network.sent += sent
                    network.received += received
        elif event.get("event") == "connections":
            by_network: dict[str, list[dict[str, object]]] = {}
            for record in event["records"]:
                by_network.setdefault(record.pop("network"), []).append(record)
            for name, count in event.get("dropped", {}).items():
                by_network.setdefault(name, []).append({"verdict": "untold", "count": count})
            for name, records in by_network.items():
                if (network := self._networks.get(name)) is not None:
                    network.heard(records)

    async def close(self) -> None:
        """End what serves, and the router. Idempotent."""
        await self.gateway.close()
        await self.mirror.close()
        if self._refusing is not None:
            self._refusing.cancel()
            await asyncio.gather(self._refusing, return_exceptions=True)
        if self.router is not None:
            self.router.close()
            self.router = None


def _parts(order: Order) -> tuple[dict[str, Any], list[int]]:
    return order.body, list(order.fds)


def _mirror_order(name: str, namespace: int) -> Order:
    order = {"op": "open", "network": name, "egress": INTERNET.to_json()}
    return Order(order, [listeners.packages(namespace)])
