"""Network namespaces for the ``network`` section: a host for the service, and somewhere to connect to.

The machine's own network is left alone."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Self

from podflare_nb.provisioning.network import links, namespaces
from podflare_nb.provisioning.network.netlink import NETLINK_ROUTE, Netlink

FAR = "93.184.216.34"
"""Where it is connected to: an address that counts as public, seen by nobody but these namespaces."""
NEAR = "93.184.216.35"
RATE_PORT, INDEX_PORT = 7000, 8080
_HARDWARE = bytes.fromhex("020000000077")
_MTU = 1500


@dataclass(frozen=True, slots=True)
class Places:
    """``host``: where the service runs; ``plain``: wired to ``far`` as ``host`` is, without us. Descriptors."""

    host: int
    plain: int
    far: int

    @classmethod
    def make(cls, stack: ExitStack) -> Self:
        """Wire them; they go with the stack."""
        made = []
        for _ in range(3):
            made.append(namespaces.make())
            stack.callback(os.close, made[-1])
        places = cls(*made)
        for index, (near, own) in enumerate(((places.host, NEAR), (places.plain, "93.184.216.36")), 2):
            _wire(near, places.far, index, own)
        return places


def _wire(near: int, far: int, index: int, own: str) -> None:
    with Netlink(NETLINK_ROUTE, near) as here, Netlink(NETLINK_ROUTE, far) as there:
        ends = links.End("eth0", 2, near), links.End(f"eth{index}", index, far)
        here.ask([links.up(links.LOOPBACK_INDEX), links.wire(*ends, _HARDWARE, _MTU), links.up(2)])
        there.ask([links.up(links.LOOPBACK_INDEX), links.up(index)])
        here.ask([*links.addresses(2, [ip_interface(f"{own}/32")]), links.route(2, ip_network("0.0.0.0/0"))])
        if index == 2:
            there.ask(links.addresses(links.LOOPBACK_INDEX, [ip_interface(f"{FAR}/32")]))
        there.ask([links.route(index, ip_network(f"{own}/32"))])


def start(stack: ExitStack, namespace: int, *command: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    """A Python program in a namespace, which ends with the stack; it has said its first line."""
    with namespaces.entered(namespace):
        process = subprocess.Popen(  # noqa: S603 - our own programs
            [sys.executable, *command], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
    stack.callback(_end, process)
    if process.stdout is None or not process.stdout.readline():
        raise SystemExit(f"bench: {command[0]} did not start")
    return process


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
