"""What the supervisor is told: which requests were served and refused, and how many bytes went through.

Bounded: so many records for each network and second; what is over that is counted, and the count is told as a record.
"""

from __future__ import annotations

import asyncio
import socket
from collections import defaultdict
from contextlib import suppress
from typing import Any

from ... import datagrams

RECORDS_SECONDS = 0.05
TRAFFIC_SECONDS = 1.0
RECORDS_PER_SECOND = 50
MAX_PENDING = 5000
MAX_RECORDS = 200
"""In one datagram, which stays below ``datagrams.MAX_BYTES``."""


class Reports:
    """Collects; ``start`` and ``close`` it."""

    def __init__(self, supervisor: socket.socket) -> None:
        self._supervisor = supervisor
        self._records: list[dict[str, Any]] = []
        self._traffic: dict[str, list[int]] = {}
        self._left: defaultdict[str, int] = defaultdict(lambda: RECORDS_PER_SECOND)
        self._dropped: defaultdict[str, int] = defaultdict(int)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to tell."""
        self._task = asyncio.create_task(self._run())

    def close(self) -> None:
        """Tell no more."""
        if self._task is not None:
            self._task.cancel()

    def add(self, record: dict[str, Any]) -> None:
        """A request that was served or refused."""
        network = record["network"]
        if self._left[network] <= 0 or len(self._records) >= MAX_PENDING:
            self._dropped[network] += 1
            return
        self._left[network] -= 1
        self._records.append(record)

    def count(self, network: str, sent: int, received: int) -> None:
        """Bytes that a sandbox sent and received."""
        counted = self._traffic.setdefault(network, [0, 0])
        counted[0] += sent
        counted[1] += received

    async def _run(self) -> None:
        rounds = round(TRAFFIC_SECONDS / RECORDS_SECONDS)
        number = 0
        while True:
            await asyncio.sleep(RECORDS_SECONDS)
            number += 1
            with suppress(datagrams.PeerClosedError):  # the end of the pair ends the process, elsewhere
                self._tell_records()
                if number % rounds == 0:
                    self._tell_second()

    def _tell_records(self) -> None:
        while self._records:
            body = {"event": "connections", "records": self._records[:MAX_RECORDS]}
            with suppress(BlockingIOError):  # it has much to do; they wait here, bounded
                datagrams.send(self._supervisor, body)
                del self._records[:MAX_RECORDS]
                continue
            return

    def _tell_second(self) -> None:
        self._left.clear()
        for network, count in self._dropped.items():
            self._records.append(record(network, "refused", reason=f"{count} more requests, which are not listed."))
        self._dropped.clear()
        if self._traffic:
            with suppress(BlockingIOError):
                datagrams.send(self._supervisor, {"event": "traffic", "networks": self._traffic})
                self._traffic = {}


def record(  # noqa: PLR0913 - the fields of the wire
    network: str, verdict: str, *, protocol: str = "http", host: str = "", port: int = 0, sent: int = 0,
    received: int = 0, reason: str = "",
) -> dict[str, Any]:  # fmt: skip
    """A record as it travels. ``sent`` and ``received``: bytes, as the sandbox sees them."""
    return {
        "network": network, "verdict": verdict, "protocol": protocol, "host": host, "port": port, "sent": sent,
        "received": received, "reason": reason,
    }  # fmt: skip
