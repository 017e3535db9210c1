"""Sockets in another network namespace: a socket belongs to the namespace that its maker was in, whoever has it later.

The calling thread enters the namespace, and is back when the block ends (setns(2): of one thread, as with all
namespaces but the user one). Nothing may be awaited inside the block.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from ..jail import syscalls as sc

OWN = "/proc/thread-self/ns/net"


@contextmanager
def entered(namespace: int) -> Iterator[None]:
    """Be in the network namespace of this descriptor. Raises OSError; then the caller is where it was."""
    own = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        sc.setns(namespace, sc.CLONE_NEWNET)
        try:
            yield
        finally:
            sc.setns(own, sc.CLONE_NEWNET)
    finally:
        os.close(own)


def open_socket(namespace: int, family: socket.AddressFamily, kind: int, protocol: int = 0) -> socket.socket:
    """A socket of that namespace, non-blocking. Raises OSError."""
    with entered(namespace):
        return socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)


def make() -> int:
    """A new network namespace; it lives as long as its descriptor, a process or a socket in it. Raises OSError."""
    own = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        sc.unshare(sc.CLONE_NEWNET)
        try:
            return os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            sc.setns(own, sc.CLONE_NEWNET)
    finally:
        os.close(own)
