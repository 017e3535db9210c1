"""A whole small internet in network namespaces of the test's own: sandboxes, a router, a host with its resolver, and
an "internet" that holds public-looking and private-looking addresses alike. Nothing of the machine's network is used.
"""

import contextlib
import os
import socket
import subprocess
from dataclasses import dataclass, field

from podflare_nb.provisioning.network import namespaces

SECONDS = 60
INTERNET, OFF = True, False
"""Policies, by name."""
PUBLIC, PUBLIC_6 = "93.184.216.34", "2606:2800:220:1::34"
OTHER_PUBLIC = "93.184.216.35"
PRIVATE, METADATA, PRIVATE_6 = "10.1.2.3", "169.254.169.254", "fd12:3456::1"
ROUTER, ROUTER_6 = "93.184.216.1", "2606:2800:220:1::1"
SHARED, DOCUMENTATION, NAT64 = "100.64.0.7", "192.0.2.9", "64:ff9b::5db8:d822"
WEB = (PUBLIC, OTHER_PUBLIC, PRIVATE, METADATA, SHARED, DOCUMENTATION, PUBLIC_6, PRIVATE_6, NAT64)
HOSTS = f"""
127.0.0.1 localhost
{PUBLIC} files.example.org www.example.com deep.down.example.com example.com xn--bcher-kva.example
{PUBLIC_6} six.example.com
{PRIVATE} private.example.com
{METADATA} metadata.example.com
127.0.0.1 loopback.example.com
{PUBLIC} mixed.example.com
{PRIVATE} mixed.example.com
{OTHER_PUBLIC} other.example.net
{SHARED} shared.example.com
{PUBLIC} both.example.net
{OTHER_PUBLIC} both.example.net
{DOCUMENTATION} documentation.example.com
{PRIVATE_6} private6.example.com
::ffff:{PRIVATE} mapped.example.com
{NAT64} nat64.example.com
"""
NAMESERVER = "127.0.0.99"


def run_in(namespace, *command, **options):
    """A command in a network namespace, to its end."""
    return subprocess.run(
        ["nsenter", f"--net=/proc/self/fd/{namespace}", *command],
        pass_fds=[namespace], timeout=SECONDS, capture_output=True, text=True, check=False, **options,
    )  # fmt: skip


def ip(namespace, *arguments):
    done = run_in(namespace, "ip", *arguments)
    assert done.returncode == 0, done.stderr


class World:
    """``internet``, ``router``, ``host``: descriptors of their namespaces."""

    def __init__(self):
        self.internet, self.router, self.host = namespaces.make(), namespaces.make(), namespaces.make()
        self._sockets = []
        for namespace in (self.internet, self.router, self.host):
            ip(namespace, "link", "set", "lo", "up")
        ip(
            self.router, "link", "add", "wan", "type", "veth", "peer", "name", "lan", "netns",
            f"/proc/{os.getpid()}/fd/{self.internet}",
        )  # fmt: skip
        for namespace, link, addresses in (
            (self.router, "wan", (f"{ROUTER}/24", f"{ROUTER_6}/64")),
            (self.internet, "lan", (f"{PUBLIC}/24", f"{PUBLIC_6}/64")),
        ):
            for address in addresses:
                ip(namespace, "address", "add", address, "dev", link, *(["nodad"] if ":" in address else []))
            ip(namespace, "link", "set", link, "up")
        for address in set(WEB) - {PUBLIC, PUBLIC_6}:
            prefix = ["/128", "nodad"] if ":" in address else ["/32"]
            ip(self.internet, "address", "add", address + prefix[0], "dev", "lan", *prefix[1:])
        ip(self.router, "route", "add", "default", "via", PUBLIC)
        ip(self.router, "-6", "route", "add", "default", "via", PUBLIC_6)

    def listen(self, address, port, namespace=None):
        """A listening TCP socket of the internet's."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = namespaces.open_socket(self.internet if namespace is None else namespace, family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(1024)
        self._sockets.append(sock)
        return sock

    def close(self):
        for sock in self._sockets:
            sock.close()
        for namespace in (self.internet, self.router, self.host):
            os.close(namespace)


@dataclass
class Sandbox:
    """A network of a sandbox's, with its listeners. ``namespace``: its descriptor."""

    name: str
    namespace: int = field(default_factory=namespaces.make)
    listeners: list = field(default_factory=list)

    def __post_init__(self):
        ip(self.namespace, "link", "set", "lo", "up")
        for kind, port in ((socket.SOCK_DGRAM, 53), (socket.SOCK_STREAM, 53), (socket.SOCK_STREAM, 61128)):
            sock = namespaces.open_socket(self.namespace, socket.AF_INET, kind)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.53", port))
            if kind == socket.SOCK_STREAM:
                sock.listen(1024)
            self.listeners.append(sock)

    def connect(self, port=61128):
        """A blocking client socket, connected to the proxy (or DNS)."""
        sock = namespaces.open_socket(self.namespace, socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(SECONDS)
        try:
            sock.connect(("127.0.0.53", port))
        except OSError:
            sock.close()
            raise
        return sock

    def datagrams(self):
        """A UDP socket that speaks to DNS."""
        sock = namespaces.open_socket(self.namespace, socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(SECONDS)
        sock.connect(("127.0.0.53", 53))
        return sock

    def run(self, *command, **options):
        """A program inside, told of the proxy as programs are told."""
        proxy = "http://127.0.0.53:61128"
        names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8", **dict.fromkeys(names, proxy)}
        return run_in(self.namespace, *command, env={**env, **options.pop("env", {})}, **options)

    def close(self):
        for sock in self.listeners:
            sock.close()
        os.close(self.namespace)


def exchange(sandbox, data, port=61128):
    """Send bytes to the proxy and read until it closes."""
    with sandbox.connect(port) as sock:
        sock.sendall(data)
        return read_all(sock)


def read_all(sock):
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while part := sock.recv(65536):
            data += part
    return data


def read_until(sock, end):
    """What comes up to and with ``end``."""
    data = b""
    while end not in data:
        part = sock.recv(1)
        assert part, data
        data += part
    return data


def connected(sandbox, target):
    """A client socket in a tunnel."""
    sock = sandbox.connect()
    sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    head = read_until(sock, b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    return sock
