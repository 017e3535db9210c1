"""Something that listens in a sandbox, and how a test reaches it."""

from dataclasses import dataclass
from pathlib import Path

import httpx

from .conftest import run

APP = Path(__file__).with_name("port_app.py")
PORT = 8000
ANY_BYTES = PORT + 1
"""Where it says any bytes; it listens at ::1 alone."""
BEGIN = """
import subprocess, sys
server = subprocess.Popen([sys.executable, "/workspace/port_app.py", "%d"], stdout=subprocess.PIPE)
assert server.stdout.readline() == b"listening\\n"
"""


@dataclass(frozen=True)
class Served:
    """A sandbox that serves. ``http``: the owner, by key."""

    http: httpx.Client
    sandbox: str

    def path(self, rest: str = "", port: int = PORT) -> str:
        """The URL by which its owner reaches it."""
        return f"{self.http.base_url}sandboxes/{self.sandbox}/ports/{port}/{rest}"

    def link(self, port: int = PORT, **body) -> str:
        made = self.http.post(f"/v1/sandboxes/{self.sandbox}/ports/{port}/links", json=body)
        assert made.status_code == 201, made.text
        return made.json()["url"]


def serve(http: httpx.Client, sandbox: str) -> Served:
    """Start the application in the sandbox."""
    put = http.put(f"/v1/sandboxes/{sandbox}/files/port_app.py", content=APP.read_bytes())
    assert put.status_code == 201, put.text
    events = run(http, sandbox, BEGIN % PORT)
    assert not [event for event in events if event["type"] == "error"], events
    return Served(http, sandbox)
