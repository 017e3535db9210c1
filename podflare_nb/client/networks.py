"""What a sandbox may reach, and what it has: the policy as callers say it, and records of connections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping


class EgressRules(TypedDict):
    """Only these: host names, ``*.`` names (every name below), addresses and ranges, each with ``:port`` or without."""

    allow: list[str] | tuple[str, ...]


Egress = bool | EgressRules
"""True: the public internet; False: nothing; or rules."""


@dataclass(frozen=True, slots=True)
class NetworkConnection:
    """A connection that a sandbox made or was refused."""

    at: str | None
    """ISO 8601 in UTC; None for one that a run of code told of."""
    verdict: str
    """allowed or refused."""
    protocol: str
    """tcp, udp, icmp, http, https or dns."""
    host: str
    """The name that was asked for, or an address."""
    port: int | None
    sent: int
    received: int
    """Bytes."""
    reason: str | None
    """Why it was refused, as a sentence."""

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> NetworkConnection:
        """Read one of a list, or the data of a ``network`` event."""
        return cls(
            at=answer.get("at"),
            verdict=str(answer.get("verdict")),
            protocol=str(answer.get("protocol")),
            host=str(answer.get("host")),
            port=answer.get("port"),
            sent=int(answer.get("sent") or 0),
            received=int(answer.get("received") or 0),
            reason=answer.get("reason"),
        )

    def __str__(self) -> str:
        target = self.host if self.port is None else f"{self.host}:{self.port}"
        return self.reason or f"{target} ({self.protocol}) was {self.verdict}."


@dataclass(frozen=True, slots=True)
class NetworkInfo:
    """The network of a sandbox and all branches of its family."""

    egress: Egress
    sent_bytes: int | None
    received_bytes: int | None
    """Since the family began; None where the service cannot tell."""
    allowed: int
    refused: int
    """Connections, as far as this sandbox has lived."""
    untold: int
    """Connections that came too fast to be told one by one."""
    connections: tuple[NetworkConnection, ...]
    """The last 1000, the newest last."""

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> NetworkInfo:
        """Read what the service answers about a network."""
        return cls(
            egress=egress_of(answer),
            sent_bytes=answer.get("sent_bytes"),
            received_bytes=answer.get("received_bytes"),
            allowed=int(answer.get("allowed") or 0),
            refused=int(answer.get("refused") or 0),
            untold=int(answer.get("untold") or 0),
            connections=tuple(NetworkConnection.from_json(one) for one in answer.get("connections") or ()),
        )


def egress_of(answer: Mapping[str, Any]) -> Egress:
    """The ``egress`` of an answer."""
    told = answer.get("egress")
    return EgressRules(allow=[str(rule) for rule in told["allow"]]) if isinstance(told, dict) else bool(told)
