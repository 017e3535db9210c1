"""Lets the host forward packets for sandboxes, and for nobody else, and takes it back.

Linux forwards what comes in over a link by that link's own setting (ip-sysctl: ``conf/<link>/forwarding``; for IPv6
since 6.17 ``force_forwarding``), which new links take from ``default``. Only these are touched: the switch for all
links at once (``ip_forward``) also changes how a host takes its addresses and redirects. Before 6.17 IPv6 has only that
one: then sandboxes have no IPv6, unless the host forwards it anyway. What the host did not forward before, between
links that are none of ours, it does not forward now: ``rules.host_rules`` guards that.

Supervisors on one host share these settings: each holds a shared lock on a file that lists what was turned on, and
whoever is left alone with it at the end turns it off: after a supervisor that was killed, the service that started it
(``sweep``), or else the end of the next one. Files are read and changed under another lock, the directory's, which
nobody holds for longer than that.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SETTINGS = Path("/proc/sys/net")
LOCKS = Path("/run/podflare_nb-forwarding")
NO_LINKS = frozenset({"all", "default"})


class Forwarding:
    """What one supervisor needs, of one version of IP. ``take_back`` it.

    ``anyway``: links over which the host forwards by itself.
    """

    def __init__(self, version: int) -> None:
        """Raises OSError."""
        self._path = _path(version)
        self._lock = -1
        self.anyway: frozenset[str] = frozenset()
        self._turned_on: set[str] = set()
        try:
            with _alone():
                self._turn_on(version)
        except BaseException:
            self.take_back()
            raise

    @property
    def turned_on(self) -> bool:
        """Whether the host forwards anything only because of sandboxes."""
        return bool(self._turned_on)

    def __repr__(self) -> str:
        return f"<Forwarding {sorted(self._turned_on)}>"

    def _turn_on(self, version: int) -> None:
        setting = "forwarding" if version == 4 or whole_host_forwards_6() else "force_forwarding"
        self._lock = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        known = set(os.pread(self._lock, 1 << 20, 0).decode().split())
        anyway = set()
        for path in (SETTINGS / f"ipv{version}/conf").iterdir():
            name = f"ipv{version}/conf/{path.name}/{setting}"
            if path.name == "all" or name in known:
                continue
            with suppress(FileNotFoundError):  # a link that has just gone
                if (SETTINGS / name).read_text().strip() != "0":
                    anyway.add(path.name)
                    continue
                (SETTINGS / name).write_text("1")
                known.add(name)
        self.anyway = frozenset(anyway - NO_LINKS)
        self._turned_on = known
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, "\n".join(sorted(known)).encode(), 0)

    def take_back(self) -> None:
        """What nobody else needs is as it was. Idempotent."""
        if self._lock < 0:
            return
        with _alone():
            _let_go(self._lock, self._path)
            self._lock = -1


def sweep() -> bool:
    """Take back what a supervisor that was killed has turned on here. False if somebody still needs it.

    Raises OSError.
    """
    gone = True
    for path in (_path(4), _path(6)):
        if path.exists():
            with _alone(), suppress(FileNotFoundError):  # somebody else was first
                gone &= _let_go(os.open(path, os.O_RDWR | os.O_CLOEXEC), path)
    return gone


def _let_go(lock: int, path: Path) -> bool:
    """Close the file; whoever is the only one to have it takes back what it lists: True."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for name in os.pread(lock, 1 << 20, 0).decode().split():
            with suppress(FileNotFoundError):  # its link has gone
                (SETTINGS / name).write_text("0")
        path.unlink(missing_ok=True)
    except BlockingIOError:  # somebody else needs it
        return False
    finally:
        os.close(lock)
    return True


def whole_host_forwards_6() -> bool:
    """Whether this host is a router for IPv6 anyway."""
    return (SETTINGS / "ipv6/conf/all/forwarding").read_text().strip() == "1"


def can_forward_6() -> bool:
    """Whether IPv6 can be forwarded for sandboxes without changing the rest of the host."""
    return whole_host_forwards_6() or (SETTINGS / "ipv6/conf/default/force_forwarding").exists()


def _path(version: int) -> Path:
    """The file's. Settings are a namespace's, file names are not."""
    namespace = Path("/proc/thread-self/ns/net").stat().st_ino
    return LOCKS / f"{namespace}-ipv{version}"


@contextmanager
def _alone() -> Iterator[None]:
    """Nobody else reads or changes a file meanwhile. The directory is there as long as there are any."""
    while True:
        LOCKS.mkdir(mode=0o700, exist_ok=True)
        try:
            directory = os.open(LOCKS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # somebody has just removed it
            continue
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            if _is_named(directory):
                yield
                with suppress(OSError):  # not empty
                    LOCKS.rmdir()
                return
        finally:
            os.close(directory)


def _is_named(directory: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(directory), LOCKS.stat())
    return False
