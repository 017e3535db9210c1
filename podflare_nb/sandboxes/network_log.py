"""What is known of a sandbox's connections: the last of them, and how many there were. Bounded.

Fed with what the family's network tells (``provisioning.handle.FamilyNetwork``): hosts in it are the sandbox's words.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ..provisioning.handle import NetworkRecord
from .execution import Notice

MOST_KEPT = 1000
MAX_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection, or a refused attempt at one. ``host``: the name that was asked for, or an address; bytes."""

    at: datetime
    verdict: str
    protocol: str
    host: str
    port: int | None
    sent: int
    received: int
    reason: str | None

    def notice(self) -> Notice:
        """The sentence for whoever runs code just now."""
        target = self.host if self.port is None else f"{self.host}:{self.port}"
        return Notice("network_refused", self.reason or f"{target} ({self.protocol}) was refused by the egress policy.")


class NetworkLog:
    """The connections of one sandbox's family, as far as this sandbox has lived."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self.connections: deque[Connection] = deque(maxlen=MOST_KEPT)
        self.allowed, self.refused, self.untold = 0, 0, 0

    def __repr__(self) -> str:
        return f"<NetworkLog allowed={self.allowed} refused={self.refused}>"

    def hear(self, records: Sequence[NetworkRecord]) -> list[Connection]:
        """Keep these; those of them that were refused."""
        refused = []
        for record in records:
            if record.get("verdict") == "untold":
                self.untold += int(record.get("count") or 0)
                continue
            connection = self._connection(record)
            self.connections.append(connection)
            if connection.verdict == "refused":
                self.refused += int(record.get("count") or 1)
                refused.append(connection)
            else:
                self.allowed += 1
        return refused

    def _connection(self, record: NetworkRecord) -> Connection:
        port, reason = record.get("port"), record.get("reason")
        return Connection(
            at=self._clock(),
            verdict="refused" if record.get("verdict") == "refused" else "allowed",
            protocol=str(record.get("protocol"))[:20],
            host=str(record.get("host"))[:MAX_CHARACTERS],
            port=port if isinstance(port, int) else None,
            sent=int(record.get("sent") or 0),
            received=int(record.get("received") or 0),
            reason=str(reason)[:MAX_CHARACTERS] if reason else None,
        )
