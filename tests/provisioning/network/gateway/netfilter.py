"""Just enough of netfilter's netlink interface to have the kernel log packets and tell of connections."""

import contextlib
import os
import socket
import struct

from podflare_nb.provisioning.network import namespaces

NETLINK_NETFILTER, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 12, 270, 1
REQUEST, ACK, CREATE = 1, 4, 0x400
CONNTRACK, LOG, TABLES = 1, 4, 10
DESTROY_GROUP, LOG_GROUP = 3, 1
INET, LOCAL_OUT = 1, 3


def attribute(kind, data):
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def nested(kind, *attributes):
    return attribute(kind | 0x8000, b"".join(attributes))


def message(subsystem, kind, *attributes, family=0, resource=0, flags=0):
    body = struct.pack(">BBH", family, 0, resource) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), subsystem << 8 | kind, REQUEST | flags, 1, 0) + body


def netfilter_socket(namespace):
    sock = namespaces.open_socket(namespace, socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    sock.settimeout(10)
    sock.bind((0, 0))
    return sock


def ask(sock, *messages):
    """Send; the last message asks for an acknowledgement, and its error is raised."""
    sock.send(b"".join(messages))
    code = struct.unpack_from("=i", sock.recv(65536), 16)[0]
    if code:
        raise OSError(-code, os.strerror(-code))


def add_output_rule(namespace, *expressions, drop=False):
    """A table with one chain at the output hook, and one rule in it. An expression: its name and attributes."""
    text = b"t\0"
    policy, hook = struct.pack(">I", 0 if drop else 1), struct.pack(">I", LOCAL_OUT)
    listed = [
        nested(1, attribute(1, name + b"\0"), nested(2, *attributes)) for name, *attributes in expressions
    ]  # fmt: skip
    place = nested(4, attribute(1, hook), attribute(2, bytes(4)))
    chain = (attribute(1, text), attribute(3, b"c\0"), place, attribute(5, policy), attribute(7, b"filter\0"))
    rule = (attribute(1, text), attribute(2, b"c\0"), nested(4, *listed))
    with contextlib.closing(netfilter_socket(namespace)) as sock:
        ask(
            sock,
            struct.pack("=IHHII", 20, 0x10, REQUEST, 1, 0) + struct.pack(">BBH", 0, 0, TABLES),
            message(TABLES, 0, attribute(1, text), family=INET, flags=CREATE),
            message(TABLES, 3, *chain, family=INET, flags=CREATE),
            message(TABLES, 6, *rule, family=INET, flags=CREATE | ACK),
            struct.pack("=IHHII", 20, 0x11, REQUEST, 1, 0) + struct.pack(">BBH", 0, 0, TABLES),
        )  # fmt: skip


def refuse_and_log_output(namespace):
    """Every packet that is sent there is dropped and told to the socket that is returned."""
    add_output_rule(namespace, (b"log", attribute(1, struct.pack(">H", LOG_GROUP))), drop=True)
    sock = netfilter_socket(namespace)
    ask(sock, message(LOG, 1, attribute(1, b"\1"), resource=LOG_GROUP, flags=ACK))
    ask(sock, message(LOG, 1, attribute(2, struct.pack(">IBB", 256, 2, 0)), resource=LOG_GROUP, flags=ACK))
    return sock


def watch_connections(namespace):
    """A socket that is told of every connection's end, with its bytes."""
    add_output_rule(namespace, (b"ct", attribute(1, struct.pack(">I", 1)), attribute(2, bytes(4))))
    with namespaces.entered(namespace), open("/proc/sys/net/netfilter/nf_conntrack_acct", "w") as setting:  # noqa: PTH123
        setting.write("1")
    sock = netfilter_socket(namespace)
    sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, DESTROY_GROUP)
    return sock


def end_connections(namespace):
    """Forget all, as their time-outs would in the end."""
    with contextlib.closing(netfilter_socket(namespace)) as sock:
        ask(sock, message(CONNTRACK, 2, flags=ACK))
