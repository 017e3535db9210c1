"""The far end of the ``network`` section: ``rate`` sends and takes bytes, ``index`` is a Python package index.

Run as ``python network_servers.py rate|index PORT``; the first line says that it listens.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import socket
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHUNK = bytes(1 << 20)
PROJECT, VERSION = "benchpure", "1.0"
HEAD = 16
"""A client's first bytes: ``send`` or ``take``, a space, how many bytes; filled with spaces."""


def rate(port: int) -> None:
    """Send or take as many bytes as a client asks for; the answer to taking is one byte at the end."""
    server = socket.create_server(("", port))
    print("listening", flush=True)  # noqa: T201 - the first line
    while True:
        sock, _ = server.accept()
        threading.Thread(target=_serve, args=(sock,), daemon=True).start()


def _serve(sock: socket.socket) -> None:
    with sock:
        head = sock.recv(HEAD, socket.MSG_WAITALL).split()
        left = int(head[1])
        if head[0] == b"send":
            while left:
                left -= sock.send(CHUNK[:left])
            return
        into = bytearray(1 << 20)
        while left and (size := sock.recv_into(into)):
            left -= size
        sock.sendall(b"!")


def wheel() -> bytes:
    """A pure wheel of one module."""
    files = {
        f"{PROJECT}.py": b"VALUE = 42\n",
        f"{PROJECT}-{VERSION}.dist-info/METADATA": (
            f"Metadata-Version: 2.1\nName: {PROJECT}\nVersion: {VERSION}\n".encode()
        ),
        f"{PROJECT}-{VERSION}.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=').decode()},{len(content)}\n"
        for name, content in files.items()
    )
    files[f"{PROJECT}-{VERSION}.dist-info/RECORD"] = f"{record}{PROJECT}-{VERSION}.dist-info/RECORD,,\n".encode()
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return target.getvalue()


class Index(BaseHTTPRequestHandler):
    """PEP 691 and its one file."""

    protocol_version = "HTTP/1.1"
    name = f"{PROJECT}-{VERSION}-py3-none-any.whl"
    content = wheel()

    def do_GET(self) -> None:
        """Answer."""
        if self.path.endswith(".whl"):
            self._answer("application/octet-stream", self.content)
            return
        file = {
            "filename": self.name,
            "url": f"/files/{self.name}",
            "hashes": {"sha256": hashlib.sha256(self.content).hexdigest()},
        }
        page = {"meta": {"api-version": "1.0"}, "name": PROJECT, "files": [file]}
        self._answer("application/vnd.pypi.simple.v1+json", json.dumps(page).encode())

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def index(port: int) -> None:
    """Serve the index."""
    server = ThreadingHTTPServer(("", port), Index)
    print("listening", flush=True)  # noqa: T201 - the first line
    server.serve_forever()


if __name__ == "__main__":
    {"rate": rate, "index": index}[sys.argv[1]](int(sys.argv[2]))
