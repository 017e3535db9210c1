"""Services on a lab's host, and what they do there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from podflare_nb.provisioning.network import forwarding

from ..conftest import Service
from ..provisioning.network.lab import Lab
from ..provisioning.network.netfilter_dump import tables
from .caller import SECONDS
from .services import dispose, start
from .traces import Process, descendants, until

GATEWAY, MIRROR = "network.gateway", "network.mirror"
CONNECT = """
import socket
with socket.create_connection(("93.184.216.34", 7000), 20) as sock:
    sock.sendall(b"?")
    print(sock.recv(100).decode())
"""
BY_PROXY = """
import urllib.request
print(urllib.request.urlopen("http://files.example.org/", timeout=20).read().decode())
"""
ALLOW = {"allow": ["files.example.org", "93.184.216.34:7000"]}


@contextmanager
def running_on_host(lab: Lab, directory: Path) -> Iterator[Service]:
    """A service on the lab's host, where the thread is then, too. Afterwards the host is as it was before."""
    with lab.host.entered():
        before = state_of(lab)
        running = lab.host.call(start, directory)
        try:
            yield running
        finally:
            dispose(running)
        until(lambda: state_of(lab) == before, SECONDS, f"{before}, but {state_of(lab)}")


def state_of(lab: Lab) -> tuple:
    """What a service changes on its host."""
    names = [
        f"{settings}/{link}/{setting}"
        for settings, setting in (("ipv4/conf", "forwarding"), ("ipv6/conf", "force_forwarding"))
        for link in ("default", "eth0", "eth1")
    ]
    locks = [path.name for path in forwarding.LOCKS.glob(f"{os.stat('/proc/thread-self/ns/net').st_ino}-*")]  # noqa: PTH116
    return lab.host.links(), tables(lab.host.namespace), [lab.host.setting(name) for name in names], locks


def attendant(service: Service, module: str) -> Process:
    (found,) = [each for each in descendants(service.process.pid) if module in each.command]
    return found
