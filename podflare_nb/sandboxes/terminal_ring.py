"""The last bytes that a terminal said, and how many there were in all. Holds bytes; reads nothing, waits for nothing.

Rings of one service share an allowance: once it is used up, a ring that grows keeps its last 64 KiB only.
"""

from dataclasses import dataclass

RING_BYTES = 1 << 20
SHORT_BYTES = 64 << 10
"""Of a terminal that has ended, or when there is no more room."""
ALL_RINGS_BYTES = 256 << 20


@dataclass(slots=True)
class Allowance:
    """What all rings together may hold. Bytes."""

    most: int = ALL_RINGS_BYTES
    held: int = 0


class TerminalRing:
    """``total`` bytes have been said; those from ``start`` on are here."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._kept = bytearray()
        self._short = False
        self.total = 0

    def __repr__(self) -> str:
        return f"<TerminalRing {self.start}..{self.total}>"

    @property
    def start(self) -> int:
        """How many bytes came before those that are kept."""
        return self.total - len(self._kept)

    def append(self, data: bytes) -> None:
        """Take what was said; the oldest goes."""
        self.total += len(data)
        self._kept += data
        self._allowance.held += len(data)
        full = self._allowance.held > self._allowance.most
        self._trim(SHORT_BYTES if full or self._short else RING_BYTES)

    def shorten(self) -> None:
        """No more comes: keep a little of it."""
        self._short = True
        self._trim(SHORT_BYTES)

    def __del__(self) -> None:
        """Whoever followed it last has let go of it: others may have its room."""
        self._trim(0)

    def since(self, seq: int, most: int) -> tuple[bytes, int]:
        """What came after ``seq``, ``most`` bytes of it; and how many bytes before that are lost."""
        begin = max(seq, self.start)
        offset = begin - self.start
        return bytes(self._kept[offset : offset + most]), begin - seq

    def _trim(self, most: int) -> None:
        excess = len(self._kept) - most
        if excess > 0:
            del self._kept[:excess]
            self._allowance.held -= excess
