"""Whether a sandbox may connect to a host, and the sentence that says why not. Pure.

A name is asked about twice: before it is resolved, and each address that it leads to. An address of a name must be
public, whatever the rules say; an address that the client itself names must be public (mode ``internet``) or be named
by a rule, as far as the operator lets tenants name it.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv6Address

from ....protocol.egress import Address, Egress
from ..addresses import Reach

MAX_RULES_SHOWN = 20
HOW_TO_CHANGE = 'Change it with PATCH /v1/sandboxes/{id} {"egress": ...}.'


class RefusedError(Exception):
    """The policy does not allow it. ``reason``: a sentence without its end, for audit and reason phrases."""

    def __init__(self, reason: str, advice: str = HOW_TO_CHANGE) -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = advice

    @property
    def sentence(self) -> str:
        """For people: what happened and what to do."""
        return f"{self.reason}. {self.advice}".strip()


class Policy:
    """The policy of one sandbox, within what the operator lets be reached."""

    def __init__(self, egress: Egress, reach: Reach) -> None:
        self.egress = egress
        self.reach = reach

    def check(self, host: str | Address, port: int) -> None:
        """Raise RefusedError unless a connection may be tried. A name's addresses are still to be chosen."""
        egress = self.egress
        if egress.mode == "off":
            raise RefusedError(f"{shown(host, port)} is not allowed: this sandbox's egress is off")
        if isinstance(host, str):
            if not egress.allows_name(host, port):
                raise self._not_allowed(host, port)
        elif egress.mode == "internet":
            if not self.reach.is_public(host):
                raise RefusedError(f"{shown(host, port)} is not allowed: it is not a public address", "")
        elif not egress.allows_address(host, port):
            raise self._not_allowed(host, port)
        elif not self.reach.may_be_named(host):
            raise RefusedError(f"{shown(host, port)} is not allowed: no policy of a sandbox may open this address", "")

    def chosen(self, name: str, port: int, addresses: Iterable[Address]) -> list[Address]:
        """Of the addresses of a name, those that it may lead to. Raises RefusedError if none is left."""
        found = list(addresses)
        public = self.public(found)
        if found and not public:
            raise RefusedError(
                f"{shown(name, port)} is not allowed: it leads to {found[0]}, which is not a public address", ""
            )
        return public

    def public(self, addresses: Iterable[Address]) -> list[Address]:
        """Those of them that are public."""
        return [address for address in addresses if self.reach.is_public(address)]

    def still_allows(self, host: str | Address, port: int) -> bool:
        """Whether a connection that is under way may go on."""
        try:
            self.check(host, port)
        except RefusedError:
            return False
        return True

    def _not_allowed(self, host: str | Address, port: int) -> RefusedError:
        return RefusedError(f"{shown(host, port)} is not allowed: this sandbox's egress allows {self.summary()}")

    def summary(self) -> str:
        """The policy for people, with no more rules than one reads."""
        rules = self.egress.rules
        if self.egress.mode != "allow" or len(rules) <= MAX_RULES_SHOWN:
            return str(self.egress)
        return ", ".join(map(str, rules[:MAX_RULES_SHOWN])) + f" and {len(rules) - MAX_RULES_SHOWN} more"


def shown(host: str | Address, port: int) -> str:
    """``host:port`` as it is written."""
    return f"[{host}]:{port}" if isinstance(host, IPv6Address) else f"{host}:{port}"
