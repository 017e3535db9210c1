"""A local HTTP server that speaks generateContent's protocol from a script, for the real google-genai package."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "gemini-test-3"


class GeminiServer(ThreadingHTTPServer):
    """Each request takes the next list of parts of the script and is kept in ``requests``."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[list[dict[str, Any]]] = []
        self.requests: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def will(self, *replies: list[dict[str, Any]]) -> None:
        self.script += replies

    def answers(self) -> list[dict[str, Any]]:
        """The function responses of the last request."""
        parts = [part for content in self.requests[-1]["contents"] for part in content["parts"]]
        return [part["functionResponse"] for part in parts if "functionResponse" in part]


class Handler(BaseHTTPRequestHandler):
    server: GeminiServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert re.fullmatch(r"/v1(beta)?/models/[\w.-]+:generateContent", self.path)
        self.server.requests.append(json.loads(body))
        content = {"role": "model", "parts": self.server.script.pop(0)}
        answer = {
            "candidates": [{"content": content, "finishReason": "STOP", "index": 0}],
            "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2},
            "modelVersion": MODEL,
        }
        payload = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def says(text: str) -> list[dict[str, Any]]:
    return [{"text": text}]


def calls(*arguments: Any, name: str = "run_code") -> list[dict[str, Any]]:
    """One function call for each dictionary of arguments; None: a call that has none."""
    made = [
        {"id": f"call_{number}", "name": name} | ({} if one is None else {"args": one})
        for number, one in enumerate(arguments)
    ]
    return [{"functionCall": call} for call in made]


@contextmanager
def gemini_server() -> Iterator[GeminiServer]:
    with GeminiServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, name="gemini")
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(60)
