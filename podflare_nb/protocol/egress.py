"""What a sandbox may reach, as clients say it: ``true``, ``false`` or ``{"allow": [rules]}``. Pure.

A rule is a host name, ``*.`` and a host name (every name below it, not itself), an address, or a range of addresses;
each with ``:port`` or without, which means every port. An IPv6 address with a port stands in brackets.

Names and addresses have one spelling here (``host``): lower case, no trailing dot, IDN as its A-label, IPv4 as four
decimal numbers, IPv6 that holds an IPv4 address as that. What C libraries also take for IPv4 (``0x7f.1``, ``127.1``,
``2130706433``) is refused, never guessed at (as the URL standard's "ends in a number" has it). Which addresses are
public is decided below, in ``provisioning.network.addresses``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Literal

import idna

from ..errors import InvalidArgumentError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
EgressMode = Literal["off", "internet", "allow"]

MAX_RULES = 256
MAX_RULE_CHARACTERS = 300
MAX_SHOWN = 80
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class NameRule:
    """``name`` itself, or with ``below`` every name below it. ``port`` None: every port."""

    name: str
    below: bool
    port: int | None

    def __str__(self) -> str:
        return f"{'*.' if self.below else ''}{self.name}{_port_text(self.port)}"

    def matches(self, name: str, port: int) -> bool:
        """Whether it allows that. ``name``: as ``host`` gives it."""
        named = name.endswith(f".{self.name}") if self.below else name == self.name
        return named and self.port in {None, port}

    def is_within(self, other: Rule) -> bool:
        """Whether all that it allows the other one does, too."""
        if not isinstance(other, NameRule) or other.port not in {None, self.port}:
            return False
        same = self.name == other.name and self.below == other.below
        return same or (other.below and self.name.endswith(f".{other.name}"))


@dataclass(frozen=True, slots=True)
class RangeRule:
    """Every address of ``network``. ``port`` None: every port."""

    network: Network
    port: int | None

    def __str__(self) -> str:
        single = self.network.prefixlen == self.network.max_prefixlen
        text = str(self.network.network_address if single else self.network)
        if self.port is not None and self.network.version == 6:
            text = f"[{text}]"
        return text + _port_text(self.port)

    def matches(self, address: Address, port: int) -> bool:
        """Whether it allows that. An address of the other version is not in it."""
        return address.version == self.network.version and address in self.network and self.port in {None, port}

    def is_within(self, other: Rule) -> bool:
        """Whether all that it allows the other one does, too."""
        if not isinstance(other, RangeRule) or other.port not in {None, self.port}:
            return False
        mine, theirs = self.network, other.network
        return mine.version == theirs.version and mine.subnet_of(theirs)  # type: ignore[arg-type]  # of one version


Rule = NameRule | RangeRule


@dataclass(frozen=True, slots=True)
class Egress:
    """A policy. ``rules`` are those of the mode ``allow``; with none of them, nothing can be reached."""

    mode: EgressMode
    rules: tuple[Rule, ...] = ()

    def __str__(self) -> str:
        """For people."""
        if self.mode != "allow":
            return {"off": "off", "internet": "the public internet"}[self.mode]
        return ", ".join(map(str, self.rules)) or "nothing"

    def to_json(self) -> bool | dict[str, list[str]]:
        """As it travels and is shown."""
        return {"allow": [str(rule) for rule in self.rules]} if self.mode == "allow" else self.mode == "internet"

    @classmethod
    def from_json(cls, value: Any) -> Egress:
        """As a client gives it. Raises InvalidArgumentError that names the rule that is wrong."""
        if isinstance(value, bool):
            return INTERNET if value else OFF
        if not isinstance(value, dict) or set(value) != {"allow"} or not isinstance(value["allow"], list):
            raise InvalidArgumentError('egress must be true, false or an object {"allow": [rules]}.')
        if len(value["allow"]) > MAX_RULES:
            raise InvalidArgumentError(f"egress.allow has {len(value['allow'])} rules; it may have {MAX_RULES}.")
        return cls("allow", tuple(_rule(text) for text in value["allow"]))

    @classmethod
    def written(cls, text: str) -> Egress:
        """As on a command line: true, false, or rules with commas between them. Raises as ``from_json``."""
        words: dict[str, Any] = {"true": True, "false": False}
        return cls.from_json(words.get(text.strip().lower(), {"allow": [rule.strip() for rule in text.split(",")]}))

    def allows_name(self, name: str, port: int) -> bool:
        """Whether a connection to this name may be tried; where it leads is to be checked when it is resolved."""
        return self.mode == "internet" or any(isinstance(r, NameRule) and r.matches(name, port) for r in self.rules)

    def knows_name(self, name: str) -> bool:
        """Whether it is allowed on any port: then it may be resolved."""
        return self.mode == "internet" or any(
            isinstance(rule, NameRule) and rule.matches(name, rule.port or 0) for rule in self.rules
        )

    def allows_address(self, address: Address, port: int) -> bool:
        """Whether a rule names this address. Whether it may name it is the operator's to say."""
        return any(isinstance(rule, RangeRule) and rule.matches(address, port) for rule in self.rules)

    def beyond(self, most: Egress) -> str:
        """What of it is not within ``most``, as it is written: ``true`` or the first such rule; empty: all is.

        A rule has to be within one of the other's rules; ranges that only together hold it do not. Which addresses may
        be named where ``most`` is the public internet is decided elsewhere (``provisioning.network.addresses``).
        """
        if most.mode == "internet":
            return ""
        if self.mode == "internet":
            return "true"
        return next((str(rule) for rule in self.rules if not any(map(rule.is_within, most.rules))), "")


OFF = Egress("off")
INTERNET = Egress("internet")


def host(text: str) -> str | Address:
    """The one spelling of a host: a name, or an address. Raises ValueError with the reason, to follow "it ...".

    Brackets around IPv6 are taken off. Nothing is resolved.
    """
    if text.startswith("[") and text.endswith("]"):
        return unmapped(IPv6Address(text[1:-1]))
    if ":" in text:
        return unmapped(IPv6Address(text))
    name = text.removesuffix(".")
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode()
        except (idna.IDNAError, UnicodeError) as error:
            raise ValueError("is no host name (IDNA)") from error
    name = name.lower()
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return IPv4Address(name)
        except ValueError as error:
            raise ValueError("is no IPv4 address of four decimal numbers") from error
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("is no host name")
    return name


def unmapped(address: Address) -> Address:
    """The IPv4 address in an IPv4-mapped IPv6 one; any other as it is. Raises ValueError for one with a zone."""
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise ValueError("has a zone")
        return address.ipv4_mapped or address
    return address


def host_and_port(text: str, default: int | None = None) -> tuple[str | Address, int]:
    """An authority ``host:port`` (RFC 9110, 7.2) without user information. Raises ValueError as ``host`` does."""
    name, port = _split(text)
    if port is None and default is None:
        raise ValueError("has no port")
    return host(name), default if port is None else port  # type: ignore[return-value]  # one of the two is there


def _split(text: str) -> tuple[str, int | None]:
    """Take the port off. More than one colon without brackets is an IPv6 address, which has none."""
    head, colon, tail = text.rpartition(":")
    if not colon or (":" in head and not head.endswith("]")) or tail.endswith("]"):
        return text, None
    if not _PORT.fullmatch(tail) or not 1 <= int(tail) <= 65_535:
        raise ValueError("has no port from 1 to 65535")
    return head, int(tail)


def _rule(text: object) -> Rule:
    if not isinstance(text, str):
        raise InvalidArgumentError(f"egress.allow has {_shown(text)}; a rule is a string.")
    try:
        return _read_rule(text)
    except ValueError as error:
        reason = str(error) if str(error).startswith(("is ", "has ")) else "is no address"
        raise InvalidArgumentError(
            f"egress.allow has {_shown(text)}, which {reason}. A rule is a host name, *.name, an address or a range "
            "like 192.0.2.0/24, each with or without :port.",
            rule=text[:MAX_RULE_CHARACTERS],
        ) from error


def _read_rule(text: str) -> Rule:
    if len(text) > MAX_RULE_CHARACTERS:
        raise ValueError(f"is longer than {MAX_RULE_CHARACTERS} characters")
    if "://" in text:
        raise ValueError("is an address with a scheme, where only a host can be")
    name, port = _split(text)
    if "/" in name:
        bare = name.replace("[", "").replace("]", "")
        address, _, prefix = bare.partition("/")
        if not prefix.isascii() or not prefix.isdecimal() or isinstance(host(address), str):
            raise ValueError("is no range of addresses")
        return RangeRule(_range(bare), port)
    if name.startswith("*."):
        below = host(name[2:])
        if not isinstance(below, str):
            raise ValueError("is no host name")
        return NameRule(below, below=True, port=port)
    found = host(name)
    if isinstance(found, str):
        return NameRule(found, below=False, port=port)
    return RangeRule(ip_network(found), port)


def _range(text: str) -> Network:
    try:
        network = ip_network(text)
    except ValueError as error:
        raise ValueError(
            "has bits set beyond its prefix" if "host bits" in str(error) else "is no range of addresses"
        ) from error
    if isinstance(network, IPv6Network) and (inner := network.network_address.ipv4_mapped) and network.prefixlen >= 96:
        return IPv4Network((inner, network.prefixlen - 96))
    return network


def _port_text(port: int | None) -> str:
    return "" if port is None else f":{port}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Ranges as an operator writes them, single addresses too. Raises InvalidArgumentError."""
    try:
        return tuple(ip_network(text) for text in texts)
    except ValueError as error:
        raise InvalidArgumentError(f"A range of addresses is written like 10.1.0.0/16: {error}.") from error


def address(text: str) -> Address:
    """An address in its one spelling. Raises ValueError."""
    return unmapped(ip_address(text))
