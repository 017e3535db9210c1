"""What is told to the supervisor of connections: bounded, of each network at most so many a second.

What was refused is told at once, and whoever refuses waits for ``delivered`` before it says so: then a reader has it
while the code still runs that caused it. The rest is told in batches.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

BATCH_SECONDS = 0.05
DELIVERY_SECONDS = 0.25
"""A refusal is quick, whoever does not listen."""
BATCH_RECORDS = 100
TRAFFIC_SECONDS = 1.0
RECORDS_A_SECOND = 50.0
BURST = 200.0
MAX_WAITING = 5_000
MAX_TEXT = 300

Verdict = Literal["allowed", "refused"]
Protocol = Literal["tcp", "udp", "icmp", "http", "https", "dns"]
Send = Callable[[dict[str, Any]], bool]


@dataclass(frozen=True, slots=True)
class ConnectionRecord:
    """A connection that has ended, or one that was refused. ``sent``: bytes from the sandbox outwards."""

    network: str
    verdict: Verdict
    protocol: Protocol
    host: str
    port: int
    sent: int = 0
    received: int = 0
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """As it travels."""
        return {
            "network": self.network, "verdict": self.verdict, "protocol": self.protocol,
            "host": self.host[:MAX_TEXT], "port": self.port, "sent": self.sent, "received": self.received,
            "reason": self.reason[:MAX_TEXT],
        }  # fmt: skip


@dataclass(slots=True)
class _Allowance:
    """A token bucket."""

    left: float
    at: float

    def take(self, now: float) -> bool:
        self.left = min(BURST, self.left + (now - self.at) * RECORDS_A_SECOND)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Records:
    """``add`` at any time; ``run`` sends. ``send`` returns False when the socket is full: it is tried again."""

    def __init__(self, send: Send, clock: Callable[[], float] = time.monotonic) -> None:
        self._send = send
        self._clock = clock
        self._waiting: list[ConnectionRecord] = []
        self._dropped: Counter[str] = Counter()
        self._allowances: dict[str, _Allowance] = {}
        self._traffic: dict[str, list[int]] = {}
        self._some = asyncio.Event()
        self._number = 0
        self._heard = 0
        self._unheard = False
        """Nobody listened, when last somebody waited."""
        self._deliveries: deque[tuple[int, asyncio.Future[None]]] = deque()

    def add(self, record: ConnectionRecord) -> None:
        """Tell it, or count it as dropped if its network has said too much."""
        now = self._clock()
        allowance = self._allowances.setdefault(record.network, _Allowance(BURST, now))
        if len(self._waiting) < MAX_WAITING and allowance.take(now):
            self._waiting.append(record)
            if record.verdict == "refused":
                self._send_records()
        else:
            self._dropped[record.network] += 1
        self._some.set()

    def lose(self, network: str) -> None:
        """Something of this network ("": of all) was lost before it could be told."""
        self._dropped[network] += 1
        self._some.set()

    def add_traffic(self, network: str, sent: int, received: int) -> None:
        """Bytes that went through a proxy."""
        both = self._traffic.setdefault(network, [0, 0])
        both[0] += sent
        both[1] += received
        self._some.set()

    def forget(self, network: str) -> None:
        """It is closed: what it said already is still told."""
        self._allowances.pop(network, None)

    def heard(self, number: int) -> None:
        """What we sent under this number, and all before, was passed on."""
        self._heard, self._unheard = max(self._heard, number), False
        while self._deliveries and self._deliveries[0][0] <= self._heard:
            delivery = self._deliveries.popleft()[1]
            if not delivery.done():
                delivery.set_result(None)

    async def delivered(self) -> None:
        """Wait, not long, until all that was sent so far was passed on. Who did not listen is waited for once."""
        if self._heard >= self._number or self._unheard:
            return
        delivery: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._deliveries.append((self._number, delivery))
        try:
            async with asyncio.timeout(DELIVERY_SECONDS):
                await delivery
        except TimeoutError:
            self._unheard = True

    async def run(self) -> None:
        """Send what there is, for good."""
        told = self._clock() - TRAFFIC_SECONDS
        while True:
            await self._some.wait()
            self._some.clear()
            self._send_records()
            if self._traffic and self._clock() - told >= TRAFFIC_SECONDS:
                told = self._clock()
                self._send_traffic()
            if self._waiting or self._dropped or self._traffic:
                self._some.set()
            await asyncio.sleep(BATCH_SECONDS)  # what comes meanwhile is told together

    def _send_records(self) -> None:
        while self._waiting or self._dropped:
            batch = self._waiting[:BATCH_RECORDS]
            dropped = dict(list(self._dropped.items())[:BATCH_RECORDS])
            body = {
                "event": "connections", "number": self._number + 1,
                "records": [record.to_json() for record in batch], "dropped": dropped,
            }  # fmt: skip
            if not self._send(body):
                return
            self._number += 1
            del self._waiting[: len(batch)]
            for network in dropped:
                del self._dropped[network]

    def _send_traffic(self) -> None:
        networks = list(self._traffic)
        for start in range(0, len(networks), BATCH_RECORDS):
            part = networks[start : start + BATCH_RECORDS]
            if not self._send({"event": "traffic", "networks": {network: self._traffic[network] for network in part}}):
                return
            for network in part:
                del self._traffic[network]
