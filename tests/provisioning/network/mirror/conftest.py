"""A real mirror over a pair of sockets, as the supervisor starts it, before servers that the test made."""

import http.client
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from podflare_nb.provisioning import datagrams

from .sources import Server, lines_of

SECONDS = 60
UID = 61_001


class Mirror:
    """The process, and what the supervisor would do with it."""

    def __init__(self, directory: Path, tables: dict, *, uid: int = UID, **configured: object) -> None:
        self.cache = directory / "cache"
        config = directory / "packages.toml"
        config.write_text("\n".join(lines_of(tables)))
        self.pair, theirs = datagrams.pair()
        environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "podflare_nb.provisioning.network.mirror", str(theirs.fileno())],
                pass_fds=[theirs.fileno()], env=environment, cwd="/",
            )  # fmt: skip
        body = {"op": "configure", "config": str(config), "cache": str(self.cache), "uid": uid, **configured}
        datagrams.send(self.pair, body)
        self.records: list[dict] = []
        self.traffic: dict[str, list[int]] = {}
        self.first = self._receive(SECONDS)

    def _receive(self, seconds: float) -> dict | None:
        if not select.select([self.pair], [], [], max(0, seconds))[0]:
            return None
        return datagrams.receive(self.pair).body

    def open(self, name: str, egress: object = True) -> str:  # noqa: FBT002 - as it travels
        """A sandbox's listener; the address that the sandbox would use."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(128)
            datagrams.send(self.pair, {"op": "open", "network": name, "egress": egress}, [listener.fileno()])
            return f"http://127.0.0.1:{listener.getsockname()[1]}"

    def tell(self, **body: object) -> None:
        datagrams.send(self.pair, body)

    def heard(self, enough: Callable[[], bool]) -> None:
        """Read what it tells until that is so."""
        deadline = time.monotonic() + SECONDS
        while not enough():
            told = self._receive(deadline - time.monotonic())
            assert told is not None, f"it told only {self.records} {self.traffic}"
            self.records += told.get("records", [])
            for name, (sent, received) in told.get("networks", {}).items():
                before = self.traffic.get(name, [0, 0])
                self.traffic[name] = [before[0] + sent, before[1] + received]

    def obeyed(self) -> None:
        """Wait until it has done all that it was told: a listener that was told of last is closed."""
        parts = urlsplit(self.open("marker"))
        with socket.create_connection((parts.hostname, parts.port), SECONDS) as connection:
            connection.sendall(b"GET /x HTTP/1.1\r\n\r\n")
            assert connection.recv(1)  # it serves
            self.tell(op="close", network="marker")
            while connection.recv(4096):
                pass

    def kept(self) -> set[str]:
        """Names in the cache."""
        return {path.name for path in (self.cache / "files").iterdir()}

    def close(self) -> int:
        self.pair.close()
        return self.process.wait(SECONDS)


@pytest.fixture
def upstream() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def elsewhere() -> Iterator[Server]:
    """A server that the operator did not name."""
    server = Server()
    yield server
    server.close()


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., Mirror]]:
    running: list[Mirror] = []

    def start_one(tables: dict, **configured: object) -> Mirror:
        running.append(Mirror(tmp_path, tables, **configured))
        return running[-1]

    yield start_one
    assert [mirror.close() for mirror in running] == [0] * len(running)


def tables_for(server: Server, **more: dict) -> dict:
    """A configuration in which everything is that server's."""
    return {
        "python": {"index_url": f"{server.url}/simple/"},
        "npm": {"registry": f"{server.url}/"},
        "debian.archives": {"http://deb.test/debian": f"{server.url}/debian"},
        **more,
    }


@pytest.fixture
def mirror(start, upstream) -> Mirror:
    running = start(tables_for(upstream))
    assert running.first == {"event": "ready"}
    return running


def get(url: str, target: str, *, method: str = "GET", headers: dict | None = None) -> tuple[int, str, bytes]:
    """Status, reason and body; the target exactly as it stands. Raises http.client.IncompleteRead and the like."""
    status, reason, body, _ = get_whole(url, target, method=method, headers=headers)
    return status, reason, body


def get_whole(
    url: str, target: str, *, method: str = "GET", headers: dict | None = None
) -> tuple[int, str, bytes, dict[str, str]]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=SECONDS)
    connection._validate_path = lambda _: None  # a client of ours may send what http.client would not
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.reason, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
    finally:
        connection.close()
