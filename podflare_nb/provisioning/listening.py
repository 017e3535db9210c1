"""Which TCP ports something listens at in a sandbox's network, read from /proc outside of it (proc_pid_net(5)).

How much there is to read is the sandbox's to choose, so all of it is bounded: the tables have listening sockets first
and are read no further; a process is looked for within a budget. Only its short name (``comm``) is read, which Linux
keeps: what a process keeps in its own memory (``cmdline``) can be made to take for ever.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from itertools import islice

from .network import listeners
from .network.namespaces import entered
from .network.rules import REDIRECTED, REDIRECTED_PORT

MOST_LISTENERS = 256
PROCESS_LOOKS = 1024
"""Descriptors that are looked at for the names of processes, in all; measured as 10 us each."""
NAME_CHARACTERS = 15
LISTEN = "0A"
OURS = {
    *((listeners.ADDRESS, port) for port in listeners.PORTS),
    *((str(address), REDIRECTED_PORT) for address in REDIRECTED.values()),
}
"""What the service itself listens at in there."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket. ``process``: the name that its process has given itself; None: not found, or another's.

    ``inode`` is the socket's.
    """

    port: int
    address: str
    process: str | None = None
    inode: int = 0


def read(network: int, members: Iterable[int]) -> list[Listener]:
    """What listens in a network, by port. ``members``: processes whose descriptors are looked through for names.

    ``network``: a descriptor of its namespace.
    """
    found = list(islice(_found(network), MOST_LISTENERS))
    names = _names({listener.inode for listener in found}, members)
    named = (replace(listener, process=names.get(listener.inode)) for listener in found)
    return sorted(named, key=lambda listener: (listener.port, ":" in listener.address, listener.address))


def _found(network: int) -> Iterator[Listener]:
    for name in ("tcp", "tcp6"):
        with suppress(FileNotFoundError):  # no IPv6 here
            yield from parse(_table(network, name))


def _table(network: int, name: str) -> Iterator[str]:
    """Its lines without the head, read as they are taken. A file is about the network in which it was opened."""
    with entered(network):
        file = open(f"/proc/thread-self/net/{name}", "rb")  # noqa: PTH123, SIM115 - closed below, outside of the network
    with file:
        for line in islice(file, 1, None):
            yield line.decode("ascii", "replace")


def parse(lines: Iterable[str]) -> Iterator[Listener]:
    """The listening sockets at the beginning of a table, without the service's own."""
    for line in lines:
        words = line.split()
        if len(words) < 10 or words[3] != LISTEN:
            return
        address, _, port = words[1].partition(":")
        listener = Listener(int(port, 16), _address(address), inode=int(words[9]))
        if (listener.address, listener.port) not in OURS:
            yield listener


def _address(text: str) -> str:
    """In words of 32 bits, each in this machine's order."""
    words = (int(text[start : start + 8], 16).to_bytes(4, sys.byteorder) for start in range(0, len(text), 8))
    packed = b"".join(words)
    if len(packed) == 4:
        return str(IPv4Address(packed))
    address = IPv6Address(packed)
    return str(address.ipv4_mapped or address)


def _names(inodes: set[int], members: Iterable[int]) -> dict[int, str]:
    """Names of the processes that hold these sockets, as far as the budget goes."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    names: dict[int, str] = {}
    for pid, link in islice(_descriptors(members), PROCESS_LOOKS):
        inode = wanted.get(link)
        if inode is not None and inode not in names:
            names[inode] = _name(pid)
        if len(names) == len(wanted):
            break
    return names


def _descriptors(members: Iterable[int]) -> Iterator[tuple[int, str]]:
    for pid in members:
        directory = f"/proc/{pid}/fd"
        with suppress(OSError), os.scandir(directory) as entries:  # it has ended
            for entry in entries:
                with suppress(OSError):
                    yield pid, os.readlink(f"{directory}/{entry.name}")  # noqa: PTH115 - thousands


def _name(pid: int) -> str:
    with suppress(OSError), open(f"/proc/{pid}/comm", "rb") as file:  # noqa: PTH123 - as above
        text = file.read(NAME_CHARACTERS + 1).decode(errors="replace")
        return "".join(character for character in text if character.isprintable())[:NAME_CHARACTERS]
    return ""
