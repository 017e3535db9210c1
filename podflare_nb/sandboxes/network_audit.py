"""The audit of networks: a line of JSON for each connection that any sandbox made or was refused.

Families are told of by the sandbox that they began with. The files are bounded: the last four, of 64 MiB each.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from ..provisioning.handle import FamilyNetwork, NetworkRecord

FILE = "network.jsonl"
MAX_BYTES, FILES = 64 << 20, 4
FIELDS = ("verdict", "protocol", "host", "port", "sent", "received", "reason", "count")


class NetworkAudit:
    """Writes to ``network.jsonl`` in the data directory. ``close`` it."""

    def __init__(self, directory: Path, clock: Callable[[], datetime]) -> None:
        """Raises OSError."""
        self._clock = clock
        path = directory / FILE
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
        self._handler = logging.handlers.RotatingFileHandler(path, maxBytes=MAX_BYTES, backupCount=FILES - 1)
        self._handler.setFormatter(logging.Formatter("%(message)s"))

    def __repr__(self) -> str:
        return f"<NetworkAudit {self._handler.baseFilename}>"

    def write(self, network: FamilyNetwork, records: Sequence[NetworkRecord]) -> None:
        """A line for each."""
        at = self._clock().isoformat(timespec="milliseconds")
        for record in records:
            line = {"at": at, **network.label, **{name: record[name] for name in FIELDS if name in record}}
            self._handler.emit(logging.makeLogRecord({"msg": "%s", "args": (json.dumps(line),)}))

    def close(self) -> None:
        """Idempotent."""
        self._handler.close()
