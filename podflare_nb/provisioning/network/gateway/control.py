"""What the supervisor says to the gateway, and the gateway to it; who is there, and what belongs to each.

In: ``{"op": "open", "network", "egress", "address"?}`` with the descriptors ``[dns_udp, dns_tcp, proxy_tcp, nflog?,
redirected_ipv4?, redirected_ipv6?]``;
``{"op": "egress", "network", "egress"}``; ``{"op": "close", "network"}``; ``{"op": "heard", "number"}``: what
``records`` told under this number was passed on. Out: ``{"event": "ready"}`` and what ``records`` tells. ``address``:
the network's addresses on the router, by which its connections are known there.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ....protocol.egress import Address, Egress, address
from ... import datagrams
from ...waiting import receive
from ..records import ConnectionRecord
from . import redirected
from .accepting import Acceptor
from .client_connection import ClientConnection
from .dns_listeners import UdpListener, serve_tcp
from .ended_connections import ended_connections
from .netlink_listener import NetlinkListener
from .proxy import ProxyConnection
from .refused_packets import refused_packets
from .sandbox_network import SandboxNetwork, Surroundings

log = logging.getLogger(__name__)

LISTENERS = 3
REDIRECTED = 2
"""Behind the socket for refused packets: one for each version of IP."""
MAX_DNS_CONNECTIONS = 16
TURN_AWAY_SECONDS = 2.0
LINGER_SECONDS = 2.0


class OpenNetwork:
    """A network with its listeners, from ``open`` to ``close``."""

    def __init__(self, network: SandboxNetwork, fds: list[int], addresses: list[Address]) -> None:
        self.network = network
        self.addresses = addresses
        self._capacity = network.around.capacity
        self._capacity.used += 1
        self._dns_connections = 0
        sockets = [socket.socket(fileno=fd) for fd in fds]
        for sock in sockets:
            sock.settimeout(0)
        dns_udp, dns_tcp, proxy = sockets[:LISTENERS]
        redirected_tcp = sockets[LISTENERS + 1 :]
        self._accepting = [proxy, dns_tcp, *redirected_tcp]
        self._udp = UdpListener(dns_udp, network)
        self._packets = [
            NetlinkListener(sock, self._refused_packets, self._lost_packets)
            for sock in sockets[LISTENERS : LISTENERS + 1]
        ]
        self._acceptors = [
            asyncio.create_task(Acceptor(proxy, self._admits, self._serve_proxy, self._turn_away).run()),
            asyncio.create_task(Acceptor(dns_tcp, self._admits_dns, self._serve_dns, _hang_up).run()),
            *(
                asyncio.create_task(Acceptor(sock, self._admits, self._serve_redirected, _hang_up).run())
                for sock in redirected_tcp
            ),
        ]

    async def close(self) -> None:
        """End its connections and close every descriptor."""
        for listener in self._packets:
            listener.close()
        for acceptor in self._acceptors:
            acceptor.cancel()
        await asyncio.gather(*self._acceptors, return_exceptions=True)
        for sock in self._accepting:
            sock.close()
        await self._udp.close()
        self._capacity.used -= 1
        self.network.around.records.forget(self.network.id)

    def _admits(self) -> bool:
        return self._capacity.admits(self.network.connections)

    def _admits_dns(self) -> bool:
        return self._dns_connections < MAX_DNS_CONNECTIONS and self._capacity.free > 0

    async def _serve_proxy(self, sock: socket.socket) -> None:
        with self._counted():
            await ProxyConnection(self.network, ClientConnection(sock)).serve()

    async def _serve_redirected(self, sock: socket.socket) -> None:
        with self._counted():
            await redirected.serve(self.network, sock)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self.network.connections += 1
        self._capacity.used += 1
        try:
            yield
        finally:
            self.network.connections -= 1
            self._capacity.used -= 1

    async def _serve_dns(self, sock: socket.socket) -> None:
        self._dns_connections += 1
        self._capacity.used += 1
        try:
            await serve_tcp(sock, self.network)
        finally:
            self._dns_connections -= 1
            self._capacity.used -= 1

    async def _turn_away(self, sock: socket.socket) -> None:
        count = self.network.connections
        sentence = f"This sandbox has {count} connections through the proxy, which is all it may have now. Close some."
        try:
            async with asyncio.timeout(TURN_AWAY_SECONDS):
                await ClientConnection(sock).answer(503, f"{count} connections are all this sandbox may have", sentence)
        except TimeoutError:
            pass

    def _refused_packets(self, data: bytes) -> None:
        for packet in refused_packets(data):
            self.network.around.records.add(
                ConnectionRecord(self.network.id, "refused", packet.protocol, str(packet.address), packet.port,
                                 reason=f"{packet.address} is not a public address")
            )  # fmt: skip

    def _lost_packets(self) -> None:
        self.network.around.records.lose(self.network.id)


async def _hang_up(_: socket.socket) -> None:
    """Nothing to say in DNS: the connection's end is quick, and says it."""


class Control:
    """``run`` until the supervisor's end closes."""

    def __init__(self, sock: socket.socket, around: Surroundings) -> None:
        self._sock = sock
        self._around = around
        self._networks: dict[str, OpenNetwork] = {}
        self._by_address: dict[Address, str] = {}

    async def run(self) -> None:
        """Do what the supervisor says. A mistake of its is logged, and nothing is opened by it."""
        try:
            while True:
                try:
                    datagram = await receive(self._sock)
                except ValueError:
                    log.exception("The gateway was told something that is no message")
                    continue
                try:
                    await self._do(datagram)
                except Exception:
                    log.exception("The gateway does not understand %r", datagram.body.get("op"))
                finally:
                    datagram.close_fds()
        except datagrams.PeerClosedError:
            return

    async def _do(self, datagram: datagrams.Datagram) -> None:
        body = datagram.body
        if body["op"] == "heard":
            self._around.records.heard(int(body["number"]))
            return
        name = str(body["network"])
        if body["op"] == "open":
            egress, addresses = Egress.from_json(body["egress"]), [address(text) for text in body.get("address", ())]
            if not LISTENERS <= len(datagram.fds) <= LISTENERS + 1 + REDIRECTED:
                raise ValueError(f"a network has {LISTENERS} listeners")
            await self._close(name)
            network = SandboxNetwork(name, egress, self._around)
            self._networks[name] = OpenNetwork(network, datagram.fds[:], addresses)
            datagram.fds.clear()
            self._by_address.update(dict.fromkeys(addresses, name))
        elif body["op"] == "egress":
            changed = self._networks[name]
            changed.addresses = [address(text) for text in body.get("address", ())]
            self._by_address.update(dict.fromkeys(changed.addresses, name))
            changed.network.change(Egress.from_json(body["egress"]))
        elif body["op"] == "close":
            await self._close(name)
        else:
            raise ValueError("no such op")

    async def _close(self, name: str) -> None:
        network = self._networks.pop(name, None)
        if network is not None:
            # Its last connections are told of by the router now, perhaps after this.
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self._forget, network.addresses, name)
            await network.close()

    def _forget(self, addresses: list[Address], name: str) -> None:
        for each in addresses:
            if self._by_address.get(each) == name:
                del self._by_address[each]
        if name not in self._networks:
            self._around.records.forget(name)

    def read_ended_connections(self, data: bytes) -> None:
        """What the router's conntrack tells: connections of sandboxes that have a way out."""
        for ended in ended_connections(data):
            network = self._by_address.get(ended.source)
            if network is not None:
                self._around.records.add(
                    ConnectionRecord(network, "allowed", ended.protocol, str(ended.address), ended.port, ended.sent,
                                     ended.received)
                )  # fmt: skip


def send(sock: socket.socket, body: dict[str, Any]) -> bool:
    """Tell the supervisor; False if the socket is full. When it is gone, ``Control.run`` sees it."""
    try:
        datagrams.send(sock, body)
    except BlockingIOError:
        return False
    except (datagrams.PeerClosedError, OSError):
        return True
    return True
