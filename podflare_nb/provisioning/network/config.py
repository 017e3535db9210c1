"""What the operator says of networks, as one frozen record; it travels from the service to its supervisor."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ...errors import InvalidArgumentError
from ...protocol.egress import INTERNET, Egress, Network, networks
from .addresses import Reach


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Of one sandbox that reaches the internet directly: connections at once, new ones in a second, in a burst."""

    at_once: int = 1024
    per_second: int = 250
    burst: int = 1000


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """``egress``: of sandboxes whose template says nothing; ``most``: what any of them may have; ``public`` and
    ``private``: see ``addresses.Reach``; ``packages``: file that describes the package indexes, None for the host's
    own."""

    egress: Egress = INTERNET
    most: Egress = INTERNET
    public: tuple[Network, ...] = ()
    private: tuple[Network, ...] = ()
    packages: str | None = None
    limits: ConnectionLimits = field(default_factory=ConnectionLimits)

    def to_json(self) -> dict[str, Any]:
        """As it travels."""
        return {
            "egress": self.egress.to_json(),
            "most": self.most.to_json(),
            "public": [str(each) for each in self.public],
            "private": [str(each) for each in self.private],
            "packages": self.packages,
            "limits": [self.limits.at_once, self.limits.per_second, self.limits.burst],
        }

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> NetworkConfig:
        """As it arrives."""
        limits = ConnectionLimits(*body["limits"])
        return cls(
            Egress.from_json(body["egress"]),
            Egress.from_json(body["most"]),
            networks(body["public"]),
            networks(body["private"]),
            body["packages"],
            limits,
        )

    @classmethod
    def written(
        cls,
        *,
        egress: str = "",
        most: str = "",
        public: Iterable[str] = (),
        private: Iterable[str] = (),
        packages: str = "",
    ) -> NetworkConfig:
        """As an operator writes it: ``egress`` and ``most`` are true, false or rules with commas between them; without
        ``most`` it is true, without ``egress`` that is ``most``.

        Raises InvalidArgumentError.
        """
        ceiling = Egress.written(most or "true")
        wanted = Egress.written(egress) if egress else ceiling
        config = cls(wanted, ceiling, networks(tuple(public)), networks(tuple(private)), packages or None)
        for name, policy in (("egress-most", ceiling), ("egress", wanted)):
            if (rule := config.reach.refused_rule(policy)) is not None:
                raise InvalidArgumentError(
                    f"{name} has {rule}, which is no public address; open it with egress-private, too."
                )
        if beyond := wanted.beyond(ceiling):
            raise InvalidArgumentError(
                f"egress has {beyond}, which is beyond egress-most ({ceiling}). Narrow the one, or widen the other."
            )
        return config

    @property
    def reach(self) -> Reach:
        """Without the host's own addresses."""
        return Reach(self.public, self.private)
