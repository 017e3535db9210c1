"""What the kernel tells of refused packets, and packets that a sandbox made up."""

import contextlib
import os
import socket
import struct

import pytest

from podflare_nb.provisioning.network import namespaces
from podflare_nb.provisioning.network.gateway.refused_packets import read_packet, refused_packets

from .internet import INTERNET, METADATA, PRIVATE, PRIVATE_6, ip
from .netfilter import refuse_and_log_output


def send(namespace, address, kind, protocol=0):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with (
        contextlib.closing(namespaces.open_socket(namespace, family, kind, protocol)) as sock,
        contextlib.suppress(OSError),
    ):
        port = 0 if kind == socket.SOCK_RAW else 5432
        if kind == socket.SOCK_STREAM:
            sock.connect((address, port))
        else:
            sock.sendto(b"\x08\0\xf7\xff\0\0\0\0", (address, port))


def test_packets_that_the_kernel_refused_are_told_as_refused_connections(gateway):
    sandbox = gateway.open(INTERNET, "plain")
    for address in (PRIVATE, METADATA, PRIVATE_6):
        ip(sandbox.namespace, "route", "add", address, "dev", "lo")
    log = refuse_and_log_output(sandbox.namespace)
    gateway.open(INTERNET, "logged", sandbox, extra=[log.fileno()])
    log.close()
    for address, kind, protocol, told, port in (
        (PRIVATE, socket.SOCK_STREAM, 0, "tcp", 5432),
        (METADATA, socket.SOCK_DGRAM, 0, "udp", 5432),
        (PRIVATE, socket.SOCK_RAW, socket.IPPROTO_ICMP, "icmp", 0),
        (PRIVATE_6, socket.SOCK_STREAM, 0, "tcp", 5432),
        (PRIVATE_6, socket.SOCK_DGRAM, 0, "udp", 5432),
    ):
        send(sandbox.namespace, address, kind, protocol)
        record = gateway.record(network="logged", verdict="refused", protocol=told, host=address, port=port)
        assert record["reason"] == f"{address} is not a public address"
    gateway.sandboxes.pop("logged")


def ip4(protocol, payload, *, fragment=0, length=5):
    head = struct.pack(">BBHHHBBH", 4 << 4 | length, 0, 0, 0, fragment, 64, protocol, 0)
    return head + bytes(4) + socket.inet_aton(PRIVATE) + bytes(4 * (length - 5)) + payload


def ip6(protocol, payload):
    return (
        struct.pack(">IHBB", 6 << 28, 0, protocol, 64)
        + bytes(16)
        + socket.inet_pton(socket.AF_INET6, PRIVATE_6)
        + payload
    )


PORTS = struct.pack(">HH", 1, 443)


@pytest.mark.parametrize(
    ("packet", "told"),
    [
        (ip4(6, PORTS), ("tcp", PRIVATE, 443)),
        (ip4(17, PORTS, length=15), ("udp", PRIVATE, 443)),
        (ip4(6, PORTS, fragment=100), ("tcp", PRIVATE, 0)),
        (ip4(6, b"\1"), ("tcp", PRIVATE, 0)),
        (ip4(132, PORTS), None),
        (ip6(6, PORTS), ("tcp", PRIVATE_6, 443)),
        (ip6(58, bytes(8)), ("icmp", PRIVATE_6, 0)),
        (ip6(0, bytes((6, 0)) + bytes(6) + PORTS), ("tcp", PRIVATE_6, 443)),
        (ip6(44, bytes((17, 0, 0, 0)) + bytes(4) + PORTS), ("udp", PRIVATE_6, 443)),
        (ip6(44, bytes((17, 0, 8, 0)) + bytes(4) + PORTS), ("udp", PRIVATE_6, 0)),
        (ip6(60, bytes((60, 0)) * 400), None),
        (b"", None),
        (b"\x45", None),
        (b"\x60" + bytes(38), None),
        (b"\x75" + bytes(50), None),
    ],
)
def test_each_length_in_a_packet_is_checked(packet, told):
    found = read_packet(packet)
    assert (found and (found.protocol, str(found.address), found.port)) == told


def test_no_bytes_break_it():
    for size in range(200):
        list(refused_packets(os.urandom(size)))
        read_packet(b"\x45" + os.urandom(size))
        read_packet(b"\x60" + os.urandom(size))
