"""The network of one family of sandboxes: its namespace, what it may reach now, and by which wire."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import Protocol

from ...errors import NoCapacityError
from ...protocol.egress import Egress, Network, RangeRule
from . import links, listeners, nftables
from .attendants import Order
from .netlink import NETLINK_ROUTE, Netlink
from .router import Router
from .rules import redirecting_rules
from .wires import Wire

PROXY = f"http://{listeners.ADDRESS}:{listeners.PROXY_PORT}"
NOT_BY_PROXY = f"localhost,127.0.0.1,::1,{listeners.ADDRESS}"
_PROXIES = {"HTTP_PROXY": PROXY, "HTTPS_PROXY": PROXY, "ALL_PROXY": PROXY, "NO_PROXY": NOT_BY_PROXY}
PROXY_ENVIRONMENT = {
    **_PROXIES, **{name.lower(): value for name, value in _PROXIES.items()}, "NODE_USE_ENV_PROXY": "1",
}  # fmt: skip
"""What programs find in their environment where only the proxy leads out."""


class Surroundings(Protocol):
    """What a network needs of the service: ``networks.Networks``."""

    router: Router | None

    def why_no_internet(self) -> str:
        """Why there is no router."""

    def changed(self, network: SandboxNetwork) -> None:
        """It has another policy."""

    def closed(self, network: SandboxNetwork) -> None:
        """It has ended."""


class SandboxNetwork:
    """Made with nothing reachable; ``set_egress`` opens what may be. ``namespace``: a descriptor, open longer than it.

    ``heard`` is called with what it is told of its connections, and of the bytes it has sent and received.
    """

    def __init__(self, surroundings: Surroundings, namespace: int) -> None:
        self.id = secrets.token_hex(8)
        self._surroundings = surroundings
        self.namespace = namespace
        self.egress = Egress("off")
        self._wire: Wire | None = None
        self._connected = False
        self._redirected: list[Network] = []
        self._redirecting: Netlink | None = None
        """Kept open: Linux frees what was replaced when it is closed, if not before, and waits for that."""
        self.closed = False
        self.sent, self.received = 0, 0
        """Bytes by proxies so far."""
        self.heard: Callable[[list[dict[str, object]]], None] = lambda _: None

    def __repr__(self) -> str:
        return f"<SandboxNetwork {self.id} {self.egress}>"

    @property
    def environment(self) -> dict[str, str]:
        """What its processes need in theirs."""
        return PROXY_ENVIRONMENT if self.egress.mode == "allow" else {}

    @property
    def wire_number(self) -> int | None:
        """Of its wire to the router, if it has one."""
        return None if self._wire is None else self._wire.number

    def set_egress(self, egress: Egress) -> None:
        """Let it reach this from now on. Raises NoCapacityError; then it is as before."""
        if egress == self.egress:
            return
        try:
            if egress.mode == "internet":
                self._connect()
            else:
                self._disconnect()
            self._redirect(egress)
        except (OSError, IndexError) as error:
            raise NoCapacityError(f"The sandbox's network could not be changed: {error}.") from error
        self.egress = egress
        self._surroundings.changed(self)

    def _connect(self) -> None:
        router = self._surroundings.router
        if router is None:
            raise NoCapacityError(self._surroundings.why_no_internet())
        if self._wire is None:
            wire = router.wires.new()
            try:
                router.wires.attach(wire, self.namespace)
            except BaseException:
                router.wires.give_back(wire, self.namespace)
                raise
            self._wire = wire
        if not self._connected:
            router.wires.connect(self._wire, self.namespace)
            self._connected = True

    def _disconnect(self) -> None:
        if self._connected and self._wire is not None and self._surroundings.router is not None:
            self._surroundings.router.wires.disconnect(self._wire, self.namespace)
        self._connected = False

    def traffic(self) -> tuple[int, int]:
        """Bytes sent and received so far, by proxies and by wire."""
        sent, received = 0, 0
        if self._wire is not None and self._surroundings.router is not None:
            sent, received = self._surroundings.router.wires.traffic(self._wire)
        return self.sent + sent, self.received + received

    def _redirect(self, egress: Egress) -> None:
        """Let connections to ranges that it may reach lead to the gateway; there is no route to them."""
        named = [rule.network for rule in egress.rules if isinstance(rule, RangeRule)]
        fours = collapse_addresses(each for each in named if isinstance(each, IPv4Network))
        sixes = collapse_addresses(each for each in named if isinstance(each, IPv6Network))
        wanted: list[Network] = [*fours, *sixes]
        if wanted == self._redirected:
            return
        if self._redirecting is None:
            self._redirecting = nftables.open_netlink(self.namespace)
        redirecting_rules(wanted).replace(self._redirecting)
        with Netlink(NETLINK_ROUTE, self.namespace) as netlink:
            netlink.ask([links.let_go(each) for each in self._redirected])
            self._redirected = []
            netlink.ask([links.take_in(each) for each in wanted])
        self._redirected = wanted

    def for_gateway(self) -> Order:
        """How the gateway is told of it. Raises OSError."""
        fds: list[int] = []
        try:
            fds += listeners.dns(self.namespace)
            fds.append(listeners.proxy(self.namespace))
            fds.append(listeners.refusals(self.namespace))
            fds += listeners.redirected(self.namespace)
        except OSError:
            Order({}, fds).close_fds()
            raise
        return Order({**self._order("open"), "address": self.addresses}, fds)

    @property
    def addresses(self) -> list[str]:
        """Its own, as the router sees them."""
        return [] if self._wire is None else [str(each.ip) for each in self._wire.addresses]

    def for_mirror(self) -> Order:
        """How the mirror is told of it. Raises OSError."""
        return Order(self._order("open"), [listeners.packages(self.namespace)])

    def change(self) -> Order:
        """How both are told of another policy."""
        return Order({**self._order("egress"), "address": self.addresses})

    def _order(self, op: str) -> dict[str, object]:
        return {"op": op, "network": self.id, "egress": self.egress.to_json()}

    def close(self) -> None:
        """Let go of it, once all processes in it have ended; the wire ends with its namespace. Idempotent."""
        if self.closed:
            return
        if self._redirecting is not None:
            self._redirecting.close()
        self.closed = True
        if self._wire is not None and self._surroundings.router is not None:
            self._surroundings.router.wires.give_back(self._wire, self.namespace)
        self._surroundings.closed(self)
