"""Lets the host forward packets for sandboxes, on the links that need it and no others, and takes it back.

Linux forwards what comes in over a link by that link's own setting (ip-sysctl: ``conf/<link>/forwarding``); for IPv6
since 6.17 (``force_forwarding``), before that only for all links at once, which also changes how a host takes its
addresses: then IPv6 is left alone, and sandboxes have IPv4 unless the host forwards IPv6 anyway.

Supervisors on one host share these settings. Each holds a lock on a file for each setting that it needs; whoever lets
go of the last one puts the setting back. The file of a killed process waits for the next one's end.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

SETTINGS = Path("/proc/sys/net")
LOCKS = Path("/run/podflare_nb-forwarding")


class Forwarding:
    """What is needed by one supervisor. ``take_back`` it."""

    def __init__(self) -> None:
        self._held: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Forwarding {sorted(self._held)}>"

    def allow(self, version: int, links: Iterable[str]) -> frozenset[str]:
        """Forward what comes in over these. The links of them that do so for sandboxes only. Raises OSError."""
        setting = "forwarding" if version == 4 or whole_host_forwards_6() else "force_forwarding"
        LOCKS.mkdir(mode=0o700, exist_ok=True)
        return frozenset(link for link in links if self._turn_on(f"ipv{version}/conf/{link}/{setting}"))

    def _turn_on(self, setting: str) -> bool:
        """True if it was off before, whoever of us has turned it on."""
        path = _lock_of(setting)
        was_on = (SETTINGS / setting).read_text().strip() != "0"
        if was_on and not path.exists():
            return False
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_SH)
        self._held[setting] = lock
        (SETTINGS / setting).write_text("1")
        return True

    def take_back(self) -> None:
        """What nobody else needs is as it was. Idempotent."""
        while self._held:
            setting, lock = self._held.popitem()
            with suppress(OSError):  # somebody else needs it
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _lock_of(setting).unlink(missing_ok=True)
                with suppress(FileNotFoundError):  # its link is gone
                    (SETTINGS / setting).write_text("0")
            os.close(lock)
        with suppress(OSError):  # not there, or not empty
            LOCKS.rmdir()


def whole_host_forwards_6() -> bool:
    """Whether this host is a router for IPv6 anyway."""
    return (SETTINGS / "ipv6/conf/all/forwarding").read_text().strip() == "1"


def can_forward_6() -> bool:
    """Whether IPv6 can be forwarded for sandboxes without changing the rest of the host."""
    return whole_host_forwards_6() or (SETTINGS / "ipv6/conf/lo/force_forwarding").exists()


def _lock_of(setting: str) -> Path:
    """Settings are a namespace's, file names are not."""
    namespace = Path("/proc/thread-self/ns/net").stat().st_ino
    return LOCKS / f"{namespace}-{setting.replace('/', '-')}"
