"""What the router's kernel tells of connections that it carried."""

import contextlib
import os
import socket

from podflare_nb.provisioning.network import namespaces
from podflare_nb.provisioning.network.gateway.ended_connections import ended_connections

from .internet import INTERNET, ip
from .netfilter import end_connections, watch_connections
from .servers import Stub, echo


def test_connections_that_a_router_carried_are_told_with_their_bytes(start_gateway, serve):
    router = namespaces.make()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, router)
        ip(router, "link", "set", "lo", "up")
        events = watch_connections(router)
        gateway = start_gateway(extra=[events.fileno()])
        events.close()
        gateway.open(INTERNET, address=["127.0.0.1", "::1"])
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            listener = namespaces.open_socket(router, family, socket.SOCK_STREAM)
            listener.bind((address, 7000))
            listener.listen()
            serve(Stub(listener, echo))
            with namespaces.open_socket(router, family, socket.SOCK_STREAM) as sock:
                sock.settimeout(10)
                sock.connect((address, 7000))
                sock.sendall(bytes(10_000))
                assert sock.recv(1) == b"\0"
            with namespaces.open_socket(router, family, socket.SOCK_DGRAM) as sock:
                sock.sendto(bytes(500), (address, 7001))
            with namespaces.open_socket(router, family, socket.SOCK_DGRAM) as stranger:
                if family == socket.AF_INET:
                    stranger.bind(("127.0.0.2", 0))
                    stranger.sendto(bytes(500), (address, 7002))
            end_connections(router)
            record = gateway.record(network="net1", verdict="allowed", protocol="tcp", host=address, port=7000)
            assert record["sent"] > 10_000
            record = gateway.record(network="net1", verdict="allowed", protocol="udp", host=address, port=7001)
            assert record["sent"] == 500 + (28 if family == socket.AF_INET else 48)
        assert not [
            record for event in gateway.events for record in event.get("records", ()) if record["port"] == 7002
        ]  # fmt: skip


def test_no_bytes_break_it():
    for size in range(300):
        list(ended_connections(os.urandom(size)))
