"""Rules of nftables as netlink messages (nf_tables' UAPI, as libnftnl speaks it): tables, sets, chains, expressions.

Written here because rules must go into hundreds of namespaces within a millisecond each, as the same bytes every time,
and because a table can belong to a socket (``OWNER``): Linux removes it when that socket closes, however its process
ended. What each rule is for stands where it is made (``sandbox_rules``, ``router_rules``, ``host_rules``).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses, ip_address

from ...protocol.egress import Network
from .netlink import (
    ACK,
    APPEND,
    CREATE,
    NETLINK_NETFILTER,
    Netlink,
    attribute,
    attributes_in,
    be32,
    list_in,
    message,
    nested,
    text,
)

INET = 1
"""The family of tables for both versions of IP."""
OWNER = 0x2
METERED = 1 << 16
"""Addresses that a meter has room for."""
ACCEPT, DROP = 1, 0
GOTO = -4
HOOKS = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}
DESTINATION_NAT_PRIORITY, SOURCE_NAT_PRIORITY = -100, 100
_TABLE, _DELETE_TABLE, _CHAIN, _RULE, _SET, _ELEMENTS, _GET_ELEMENTS = 0, 2, 3, 6, 9, 12, 13
_SUBSYSTEM = 10
_BATCH_BEGIN, _BATCH_END = 16, 17
_VERDICT_REGISTER, _REGISTER = 0, 1
_SET_INTERVAL, _SET_CONSTANT, _SET_TIMEOUT, _SET_EVAL = 0x4, 0x2, 0x10, 0x20
_UPDATE = 1
_INTERVAL_END = 1
_IPV4_TYPE, _IPV6_TYPE = 7, 8
_META_IIF, _META_OIF, _META_IIFNAME, _META_OIFNAME, _META_NFPROTO, _META_L4PROTO = 4, 5, 6, 7, 15, 16
_FIB_RESULT_OIF, _FIB_RESULT_ADDRTYPE = 1, 3
_FIB_SADDR, _FIB_IIF = 1, 8
_RTN_LOCAL = 2
_ESTABLISHED_OR_RELATED = 2 | 4
_ADMIN_PROHIBITED = 3

Expression = bytes
Rule = Sequence[Expression]


def _generic(kind: int, flags: int, body: bytes, family: int = INET) -> bytes:
    return message(_SUBSYSTEM << 8 | kind, flags, struct.pack(">BBH", family, 0, 0) + body)


class Table:
    """One table on its way: collects messages; ``commit`` puts them all in force, or none."""

    def __init__(self, name: str, flags: int = 0) -> None:
        self.name = name
        self._flags = flags
        self._messages = [
            _generic(_TABLE, ACK | CREATE, text(1, name) + be32(2, flags)),
        ]
        self._sets = 0

    def ranges(self, name: str, networks: Iterable[Network]) -> list[int]:
        """Sets of ranges, to be used by ``to`` and ``source``, one for each version of IP that there is. Which."""
        ranges = list(networks)
        fours = list(collapse_addresses(each for each in ranges if isinstance(each, IPv4Network)))
        sixes = list(collapse_addresses(each for each in ranges if isinstance(each, IPv6Network)))
        if fours:
            self._set(f"{name}4", _IPV4_TYPE, 4, fours)
        if sixes:
            self._set(f"{name}6", _IPV6_TYPE, 16, sixes)
        return [version for version, found in ((4, fours), (6, sixes)) if found]

    def _set(self, name: str, kind: int, length: int, networks: Sequence[Network]) -> None:
        self._sets += 1
        head = text(1, self.name) + text(2, name)
        about = be32(3, _SET_INTERVAL | _SET_CONSTANT) + be32(4, kind) + be32(5, length) + be32(10, self._sets)
        self._messages.append(_generic(_SET, ACK | CREATE, head + about))
        elements = b"".join(self._interval(network, length) for network in networks)
        self._messages.append(_generic(_ELEMENTS, ACK | CREATE, head + be32(4, self._sets) + nested(3, elements)))

    @staticmethod
    def _interval(network: Network, length: int) -> bytes:
        first = nested(1, nested(1, attribute(1, network.network_address.packed)))
        after = int(network.broadcast_address) + 1
        if after >> (8 * length):  # up to the last address: an interval without an end
            return first
        return first + nested(1, nested(1, attribute(1, after.to_bytes(length, "big"))), be32(3, _INTERVAL_END))

    def meter(self, name: str, version: int, seconds: int = 0) -> None:
        """A set that rules fill as they go, one element for each source address (``each_source``). It is forgotten so
        long after it was last asked for; 0: when Linux sees that it has no connection any more."""
        kind, length = (_IPV4_TYPE, 4) if version == 4 else (_IPV6_TYPE, 16)
        self._sets += 1
        head = text(1, self.name) + text(2, name)
        flags = _SET_EVAL | (_SET_TIMEOUT if seconds else 0)
        about = be32(3, flags) + be32(4, kind) + be32(5, length) + be32(10, self._sets) + nested(9, be32(1, METERED))
        forgets = attribute(11, struct.pack(">Q", seconds * 1000)) if seconds else b""
        self._messages.append(_generic(_SET, ACK | CREATE, head + about + forgets))

    def chain(  # noqa: PLR0913 - what a chain is
        self, name: str, rules: Iterable[Rule], *, hook: str = "", kind: str = "filter", priority: int = 0,
        policy: int = ACCEPT,
    ) -> None:  # fmt: skip
        """A chain and its rules. Without a hook, one that others go to: make it before them."""
        body = text(1, self.name) + text(3, name)
        if hook:
            place = be32(1, HOOKS[hook]) + be32(2, priority)
            body += nested(4, place) + be32(5, policy) + text(7, kind)
        self._messages.append(_generic(_CHAIN, ACK | CREATE, body))
        for rule in rules:
            expressions = b"".join(nested(1, each) for each in rule)
            body = text(1, self.name) + text(2, name) + nested(4, expressions)
            self._messages.append(_generic(_RULE, ACK | CREATE | APPEND, body))

    def messages(self) -> list[bytes]:
        """The batch."""
        edge = struct.pack(">BBH", socket.AF_UNSPEC, 0, _SUBSYSTEM)
        return [message(_BATCH_BEGIN, 0, edge), *self._messages, message(_BATCH_END, 0, edge)]

    def replace(self, netlink: Netlink) -> None:
        """Put it in the place of the one of its name, if there is any. Raises OSError, and then nothing has changed."""
        begin, first, *rest = self.messages()
        netlink.ask([begin, first, _generic(_DELETE_TABLE, ACK, text(1, self.name)), first, *rest])

    def commit(self, netlink: Netlink) -> None:
        """Put it in force in the socket's namespace. Raises OSError, and then nothing has changed."""
        netlink.ask(self.messages())


def _expression(name: str, *attributes: bytes) -> Expression:
    return text(1, name) + nested(2, *attributes)


def _compare(value: bytes, operator: int = 0) -> Expression:
    return _expression("cmp", be32(1, _REGISTER), be32(2, operator), nested(3, attribute(1, value)))


def _meta(key: int) -> Expression:
    return _expression("meta", be32(1, _REGISTER), be32(2, key))


def into(index: int) -> Rule:
    """It came over this link."""
    return [_meta(_META_IIF), _compare(struct.pack("=I", index))]


def out_of(index: int) -> Rule:
    """It leaves over this link."""
    return [_meta(_META_OIF), _compare(struct.pack("=I", index))]


def not_into(index: int) -> Rule:
    """It came over another link, or was made here."""
    return [_meta(_META_IIF), _compare(struct.pack("=I", index), 1)]


def _load_address(version: int, *, source: bool) -> Expression:
    offset, length = (12 if source else 16, 4) if version == 4 else (8 if source else 24, 16)
    return _expression("payload", be32(1, _REGISTER), be32(2, 1), be32(3, offset), be32(4, length))


def to(version: int, ranges: str) -> Rule:
    """Its destination is in these ranges."""
    return [*of_ip(version), _load_address(version, source=False), _lookup(f"{ranges}{version}")]


def source(version: int, ranges: str) -> Rule:
    """Its source is in these ranges."""
    return [*of_ip(version), _load_address(version, source=True), _lookup(f"{ranges}{version}")]


def _lookup(name: str) -> Expression:
    return _expression("lookup", text(1, name), be32(2, _REGISTER))


def each_source(version: int, meter: str, limit: Expression) -> Rule:
    """It is over the limit, of which each source address has its own."""
    add = _expression("dynset", text(1, meter), be32(3, _UPDATE), be32(4, _REGISTER), nested(7, limit))
    return [*of_ip(version), _load_address(version, source=True), add]


def more_connections_than(count: int) -> Expression:
    """For ``each_source``: connections under way."""
    return _expression("connlimit", be32(1, count), be32(2, 1))


def counter() -> Expression:
    """For ``each_source``: packets and bytes that came by; ``counts`` reads them."""
    return _expression("counter")


def counts(netlink: Netlink, table: str, meter: str) -> dict[IPv4Address | IPv6Address, int]:
    """How many packets of each source address a meter with a ``counter`` has seen. Raises OSError."""
    found = {}
    head = struct.pack(">BBH", INET, 0, 0)
    for answer in netlink.dump(_SUBSYSTEM << 8 | _GET_ELEMENTS, head + text(1, table) + text(2, meter)):
        for _, each in list_in(attributes_in(answer[len(head) :]).get(3, b"")):
            element = attributes_in(each)
            source, counted = attributes_in(element[1])[1], attributes_in(attributes_in(element[7])[2])
            found[ip_address(source)] = int.from_bytes(counted[2], "big")
    return found


def faster_than(per_second: int, burst: int) -> Expression:
    """Packets; for ``each_source``, or as it is."""
    return _limit(per_second, burst, 1)


def no_faster_than(per_second: int, burst: int) -> Expression:
    """What is faster does not match."""
    return _limit(per_second, burst, 0)


def _limit(per_second: int, burst: int, inverted: int) -> Expression:
    rate = attribute(1, struct.pack(">Q", per_second)) + attribute(2, struct.pack(">Q", 1))
    return _expression("limit", rate, be32(3, burst), be32(4, 0), be32(5, inverted))


def of_a_known_connection() -> Rule:
    """An answer, or an error that belongs to a connection that is known."""
    mask = struct.pack("=I", _ESTABLISHED_OR_RELATED)
    return [
        _expression("ct", be32(1, _REGISTER), be32(2, 0)),
        _expression(
            "bitwise", be32(1, _REGISTER), be32(2, _REGISTER), be32(3, 4), nested(4, attribute(1, mask)),
            nested(5, attribute(1, bytes(4))),
        ),
        _compare(bytes(4), 1),
    ]  # fmt: skip


def verdict(code: int, chain: str = "") -> Expression:
    """``ACCEPT``, ``DROP``, or ``GOTO`` a chain."""
    target = text(2, chain) if chain else b""
    return _expression("immediate", be32(1, _VERDICT_REGISTER), nested(2, nested(2, be32(1, code), target)))


def reject() -> Expression:
    """Refuse, and let the sender know at once that it is by rule (ICMP administratively prohibited)."""
    return _expression("reject", be32(1, 2), attribute(2, bytes([_ADMIN_PROHIBITED])))


def tcp() -> Rule:
    """It is TCP."""
    return [_meta(_META_L4PROTO), _compare(bytes([socket.IPPROTO_TCP]))]


def not_between(prefix: str) -> Rule:
    """Neither the link that it came over nor the one that it leaves over has a name that begins so."""
    name = prefix.encode()
    return [_meta(_META_IIFNAME), _compare(name, 1), _meta(_META_OIFNAME), _compare(name, 1)]


def of_ip(version: int) -> Rule:
    """It is of this version of IP."""
    return [_meta(_META_NFPROTO), _compare(bytes([socket.AF_INET if version == 4 else socket.AF_INET6]))]


def from_elsewhere(version: int) -> Rule:
    """Nothing that is sent to its source would leave over the link that it came over: it is of somebody else."""
    return [
        *of_ip(version),
        _expression("fib", be32(1, _REGISTER), be32(2, _FIB_RESULT_OIF), be32(3, _FIB_SADDR | _FIB_IIF)),
        _compare(bytes(4)),
    ]


def from_a_foreign_address(version: int) -> Rule:
    """Its source is no address of this namespace."""
    return [
        *of_ip(version),
        _expression("fib", be32(1, _REGISTER), be32(2, _FIB_RESULT_ADDRTYPE), be32(3, _FIB_SADDR)),
        _compare(struct.pack("=I", _RTN_LOCAL), 1),
    ]


def icmp(version: int) -> Rule:
    """It is ICMP of this version of IP."""
    number = socket.IPPROTO_ICMP if version == 4 else socket.IPPROTO_ICMPV6
    return [*of_ip(version), _meta(_META_L4PROTO), _compare(bytes([number]))]


def reset() -> Expression:
    """Refuse a TCP connection with a reset."""
    return _expression("reject", be32(1, 1), attribute(2, b"\0"))


def log(group: int, bytes_of_packet: int) -> Expression:
    """Tell whoever listens to the group (NFLOG), at once."""
    return _expression(
        "log", attribute(1, struct.pack(">H", group)), be32(3, bytes_of_packet), attribute(4, struct.pack(">H", 1))
    )


def send_to(address: IPv4Address | IPv6Address, port: int) -> Rule:
    """Let a connection lead there instead (destination NAT)."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    second = _REGISTER + 1
    return [
        _expression("immediate", be32(1, _REGISTER), nested(2, attribute(1, address.packed))),
        _expression("immediate", be32(1, second), nested(2, attribute(1, struct.pack(">H", port)))),
        _expression("nat", be32(1, 1), be32(2, family), be32(3, _REGISTER), be32(5, second)),
    ]


def masquerade() -> Expression:
    """Give it the address of the link that it leaves over."""
    return _expression("masq")


def open_netlink(namespace: int | None = None) -> Netlink:
    """A socket for ``Table.commit``. Raises OSError."""
    return Netlink(NETLINK_NETFILTER, namespace)
