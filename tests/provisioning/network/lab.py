"""A host and an internet of the test's own: supervisors and whole services run on the host and know no other world.

The internet has public addresses, and as targets of attacks also such as nobody outside should have. The host has two
ways out of it: the default route, and a second wire to a public network elsewhere. Names are the host's own affair:
``/etc/hosts``, and a name server that may lie. Nothing of the machine's network is seen or changed.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from podflare_nb.protocol.egress import Egress
from podflare_nb.provisioning.client import Supervisor
from podflare_nb.provisioning.network import links
from podflare_nb.provisioning.network.config import NetworkConfig

from ...faults.traces import until
from ..conftest import KernelClient, Outcome, new_directories, templates
from .internet_servers import ECHO, make_certificate, make_repository, start_echo, start_web
from .names import NameServer
from .places import SECONDS, Place, join

PUBLIC, PUBLIC_6 = "93.184.216.34", "2606:2800:220:1::34"
ELSEWHERE, ELSEWHERE_6 = "198.41.0.4", "2a01:500:ba3e::30"
"""Public, too, but not behind the default route."""
HOST_PUBLIC, HOST_PUBLIC_6 = "93.184.216.77", "2606:2800:220:1::77"
HOST_PRIVATE, HOST_PRIVATE_6 = "192.168.77.2", "2001:db8:77::2"
"""The host's own addresses."""
NAME_SERVER = "127.0.0.99"
NOT_PUBLIC = {
    "this network": "0.1.2.3",
    "private 10": "10.9.9.9",
    "shared": "100.64.0.7",
    "a cloud's metadata in the shared range": "100.100.100.200",
    "a cloud's wire server": "168.63.129.16",
    "metadata": "169.254.169.254",
    "private 172.16": "172.16.5.5",
    "protocol assignments": "192.0.0.192",
    "documentation 1": "192.0.2.9",
    "6to4 relays": "192.88.99.1",
    "private 192.168": "192.168.50.50",
    "benchmarks": "198.19.255.9",
    "documentation 2": "198.51.100.9",
    "documentation 3": "203.0.113.9",
    "reserved": "240.0.0.9",
    "compatible IPv6": "::a09:909",
    "NAT64": "64:ff9b::a09:909",
    "local NAT64": "64:ff9b:1::a09:909",
    "discard": "100::9",
    "Teredo": "2001::f5f6:f6f6",
    "6to4": "2002:a09:909::1",
    "documentation of IPv6": "2001:db8::9",
    "newer documentation": "3fff::9",
    "not assigned": "4000::9",
    "segment routing": "5f00::9",
    "unique local": "fd00:ec2::254",
    "site-local": "fec0::9",
}
"""Addresses that the internet of these tests has, though no sandbox may reach them."""
NAMES = {
    "files.example.org": [[PUBLIC, PUBLIC_6]],
    "www.example.com": [[PUBLIC]],
    "example.com": [[PUBLIC]],
    "elsewhere.example.net": [[ELSEWHERE]],
    "private.example.org": [["10.9.9.9"]],
    "metadata.example.org": [["169.254.169.254"]],
    "loopback.example.org": [["127.0.0.1"]],
    "host.example.org": [[HOST_PUBLIC]],
    "mixed.example.org": [[PUBLIC, "10.9.9.9"]],
    "rebinding.example.org": [[PUBLIC], ["10.9.9.9"]],
    "mapped.example.org": [["::ffff:10.9.9.9"]],
    "nat64.example.org": [["64:ff9b::a09:909"]],
}
HOSTS = f"127.0.0.1 localhost\n{PUBLIC} by-hosts-file.example.org\n"
LAYERS = ("sandbox_rules", "router_rules", "host_rules")
"""What ``Router`` can leave out."""


def only(layer: str) -> tuple[str, ...]:
    """All layers but this one, to leave out."""
    return tuple(each for each in LAYERS if each != layer)


@dataclass
class Lab:
    """``host``, ``internet`` and ``elsewhere`` are places; ``names`` is the host's name server. Close it."""

    directory: Path
    host: Place
    internet: Place
    elsewhere: Place
    names: NameServer
    certificate: Path

    @classmethod
    def build(cls) -> Self:
        """Make all of it."""
        directory = Path(tempfile.mkdtemp(prefix="pfnb-lab-", dir="/tmp"))
        files = {
            "/etc/hosts": HOSTS,
            "/etc/resolv.conf": f"nameserver {NAME_SERVER}\n",
            "/etc/nsswitch.conf": "hosts: files dns\npasswd: files\ngroup: files\n",
        }
        directory.chmod(0o755)
        for path, text in files.items():
            (directory / Path(path).name).write_text(text)
        host = Place("host", {path: directory / Path(path).name for path in files})
        internet, elsewhere = Place("internet"), Place("elsewhere")
        certificate = make_certificate(directory, "files.example.org", "www.example.com")
        lab = cls(directory, host, internet, elsewhere, NameServer(NAME_SERVER), certificate)
        lab._wire()
        lab._serve()
        return lab

    def _wire(self) -> None:
        host, internet, elsewhere = self.host, self.internet, self.elsewhere
        for place in (host, internet, elsewhere):  # what a new namespace has of the machine's
            place.settings("ipv4/conf/*/forwarding", "0")
            place.settings("ipv6/conf/*/force_forwarding", "0")
            place.settings("ipv4/conf/*/rp_filter", "0")
        join(host, internet, 2, "eth0")
        join(host, elsewhere, 3, "eth1")
        for place in (host, internet, elsewhere):
            place.setting("ipv6/conf/all/accept_dad", "0")
            place.ask(links.up(links.LOOPBACK_INDEX))
        host.add_addresses(2, f"{HOST_PRIVATE}/24", f"{HOST_PUBLIC}/32", f"{HOST_PRIVATE_6}/64", f"{HOST_PUBLIC_6}/128")
        host.add_addresses(3, "192.168.78.2/24", "2001:db8:78::2/64")
        host.add_routes(2, "0.0.0.0/0", "::/0")
        host.add_routes(3, f"{ELSEWHERE}/32", f"{ELSEWHERE_6}/128")
        for place, index, own, addresses in (
            (internet, 2, ("192.168.79.1/32", "2001:db8:79::1/128"), [PUBLIC, PUBLIC_6, *NOT_PUBLIC.values()]),
            (elsewhere, 3, ("192.168.80.1/32", "2001:db8:80::1/128"), [ELSEWHERE, ELSEWHERE_6]),
        ):
            place.add_addresses(1, *(f"{each}/{128 if ':' in each else 32}" for each in addresses))
            place.add_addresses(index, *own)
            place.add_routes(index, "0.0.0.0/0", "::/0")

    def _serve(self) -> None:
        self.names.names.update(NAMES)
        self.host.serve(self.names.start())
        self.host.serve(start_echo([HOST_PUBLIC, HOST_PUBLIC_6, HOST_PRIVATE, HOST_PRIVATE_6, "127.0.0.1"]))
        self.internet.serve(start_echo([PUBLIC, PUBLIC_6, *NOT_PUBLIC.values()]))
        self.internet.serve(start_web(self.certificate, make_repository(self.directory)))
        self.elsewhere.serve(start_echo([ELSEWHERE, ELSEWHERE_6]))
        self.elsewhere.serve(start_web())

    def run(self, work: Any) -> Any:
        """What comes of a coroutine, in the loop of the host, where supervisors are."""
        return self.host.run(work)

    def start(self, *without: str, network: NetworkConfig | None = None, pool_size: int = 0) -> "LabSupervisor":
        """A supervisor on the host. ``without``: see ``only``."""
        directories = new_directories()
        starting = Supervisor.start(templates(pool_size), without=without, network=network, **directories)
        return LabSupervisor(self, self.run(starting), directories)

    def close(self) -> None:
        """End all of it."""
        for place in (self.host, self.internet, self.elsewhere):
            place.close()
        shutil.rmtree(self.directory)


class LabSupervisor:
    """A supervisor on a lab's host, for tests that do not wait in a loop of their own. Close it."""

    def __init__(self, lab: Lab, client: Supervisor, directories: Mapping[str, Path]) -> None:
        self.lab = lab
        self.client = client
        self._directories = directories

    @property
    def pid(self) -> int:
        """Its process."""
        assert self.client._process is not None
        return self.client._process.pid

    def sandbox(self, egress: Any = None, **options: Any) -> "LabSandbox":
        """A kernel of its own; ``egress`` as a client gives it, None for the default."""
        wanted = None if egress is None else Egress.from_json(egress)
        kernel = self.lab.run(self.client.acquire("python-minimal", egress=wanted, **options))
        return LabSandbox(self.lab, kernel)

    def children(self, module: str) -> list[int]:
        """The attendants of this module."""
        pids = [pid for path in Path(f"/proc/{self.pid}/task").glob("*/children") for pid in path.read_text().split()]
        return [int(pid) for pid in pids if module in Path(f"/proc/{pid}/cmdline").read_text()]

    def router(self) -> Place:
        """The router's namespace, which the gateway is in once it is ready."""
        host = os.fstat(self.lab.host.namespace).st_ino
        inside: list[Path] = []

        def is_there() -> bool:
            inside[:] = [Path(f"/proc/{pid}/ns/net") for pid in self.children("network.gateway")]
            return bool(inside) and inside[0].stat().st_ino != host

        until(is_there, SECONDS, "the gateway is in the router's namespace")
        return Place("router", namespace=os.open(inside[0], os.O_RDONLY))

    def close(self) -> None:
        """End it; it must leave nothing but its cache of packages, which others use."""
        self.lab.run(self.client.aclose())
        left = [path.name for directory in self._directories.values() for path in directory.iterdir()]
        for directory in self._directories.values():
            shutil.rmtree(directory)
        assert set(left) <= {"packages"}, left


class LabSandbox:
    """One kernel on a lab's host, and a client of it."""

    def __init__(self, lab: Lab, kernel: Any) -> None:
        self.lab = lab
        self.kernel = kernel
        self.client: KernelClient = lab.host.call(KernelClient, kernel)

    def run(self, code: str) -> Outcome:
        """Execute a cell."""
        return self.lab.run(self.client.run(code))

    def told(self, code: str) -> Any:
        """What a cell prints last, which is JSON."""
        outcome = self.run(code)
        assert outcome.error is None, outcome
        return json.loads(outcome.text.splitlines()[-1])

    def probe(self, targets: Iterable["Target"]) -> dict[str, str]:
        """How each target answers (``PROBE``)."""
        listed = [[each.name, each.kind, each.address, each.port] for each in targets]
        return self.told(f"{PROBE}\nprint(json.dumps(probe(json.loads({json.dumps(listed)!r}))))")

    def set_egress(self, egress: Any) -> None:
        """Change the policy of its family."""
        self.lab.run(self.kernel.set_egress(Egress.from_json(egress)))

    def fork(self, count: int = 1, *, asleep: bool = False) -> list[Any]:
        """Live children as sandboxes, or checkpoints as they are."""
        fork = self.lab.run(self.kernel.fork(count, asleep=asleep))
        assert fork.failures == []
        return fork.children if asleep else [LabSandbox(self.lab, child) for child in fork.children]

    def wake(self, sleeping: Any) -> "LabSandbox":
        """A checkpoint, awake."""
        return LabSandbox(self.lab, self.lab.run(sleeping.wake()))

    def close(self) -> None:
        """End it."""
        self.lab.host.call(self.client.close)
        self.lab.run(self.kernel.kill())


@dataclass(frozen=True)
class Target:
    """Somebody to speak to. ``kind``: tcp, udp or icmp. It answers ``reached ...``."""

    name: str
    address: str
    kind: str = "tcp"
    port: int = ECHO

    def __str__(self) -> str:
        return f"{self.name} {self.kind}"

    def by(self, kind: str) -> "Target":
        """The same by another protocol."""
        return replace(self, kind=kind, name=f"{self.name} by {kind}")


PROBE = """
import errno, json, selectors, socket, struct, time
def begin(kind, address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    if kind == "tcp":
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        error = sock.connect_ex((address, port))
        if error not in (0, errno.EINPROGRESS):
            sock.close()
            raise OSError(error, "")
        return sock
    protocol = 0 if kind == "udp" else socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
    sock = socket.socket(family, socket.SOCK_DGRAM, protocol)
    sock.setblocking(False)
    sock.connect((address, port))
    sock.send(b"?" if kind == "udp" else struct.pack(">BBHHH", 8 if family == socket.AF_INET else 128, 0, 0, 0, 1))
    return sock
def advance(kind, sock, told):
    if not told and kind == "tcp":
        if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, "")
        sock.send(b"?")
        return None
    data = sock.recv(1000)
    return "reached by icmp" if kind == "icmp" else data.decode() or "closed"
def probe(targets, seconds=4):
    results, waiting = {}, selectors.DefaultSelector()
    for name, kind, address, port in targets:
        try:
            sock = begin(kind, address, port)
        except OSError as error:
            results[name] = errno.errorcode.get(error.errno, repr(error))
            continue
        waiting.register(sock, selectors.EVENT_WRITE if kind == "tcp" else selectors.EVENT_READ, (name, kind))
    deadline = time.monotonic() + seconds
    while waiting.get_map() and time.monotonic() < deadline:
        for key, events in waiting.select(max(0, deadline - time.monotonic())):
            name, kind = key.data
            try:
                result = advance(kind, key.fileobj, events & selectors.EVENT_READ)
            except OSError as error:
                result = errno.errorcode.get(error.errno, repr(error))
            if result is None:
                waiting.modify(key.fileobj, selectors.EVENT_READ, key.data)
                continue
            results[name] = result
            waiting.unregister(key.fileobj)
            key.fileobj.close()
    for key in list(waiting.get_map().values()):
        results[key.data[0]] = "silence"
        key.fileobj.close()
    return results
"""
"""Speaks to all targets at once; for each what came: ``reached ...``, the name of an error, or ``silence``."""


def reached(answer: str) -> bool:
    """Whether the attack got through."""
    return answer.startswith("reached")
