"""Terminals of the scripted service: what a test says is what the program wrote; what is typed is kept and echoed."""

import asyncio
import base64
import json
import time
from typing import Any

from fake_service import BOUND, FakeService, Handler, Sandbox
from tornado import iostream

PROMPT = b"root@sandbox:/workspace# "


class FakeTerminal:
    """One terminal. ``said`` is all that its program wrote; nothing before ``kept_from`` is kept."""

    def __init__(self, service: FakeService, pty_id: str, asked: dict[str, Any]) -> None:
        self.pty_id = pty_id
        self.label = asked.get("shellCmd") or "bash"
        self.asked = asked
        self.sizes: list[tuple[int, int]] = [(asked.get("cols", 80), asked.get("rows", 24))]
        self.said = PROMPT
        self.typed = b""
        self.kept_from = 0
        self.echoes = True
        self.exit_code: int | None = None
        self.error: str | None = None
        self.streams: set[iostream.IOStream] = set()
        self.attached: list[int] = []
        self._service = service
        self.news = asyncio.Event()

    def say(self, text: bytes) -> None:
        """The program writes."""
        self.said += text
        self._tell()

    def end(self, code: int, error: str | None = None) -> None:
        """The program ends, or the service ends it with a sentence."""
        self.exit_code, self.error = code, error
        self._tell()

    def cut(self) -> None:
        """Every connection is torn; the program goes on."""
        self._service.soon(lambda: [stream.close() for stream in list(self.streams)])

    def info(self) -> dict[str, Any]:
        return {"pty_id": self.pty_id, "cmd_label": self.label, "created_at_ms": 0, "exit_code": self.exit_code}

    def take(self, data: bytes) -> None:
        self.typed += data
        if self.echoes:
            self.say(data.replace(b"\r", b"\r\n"))

    def tell(self) -> None:
        """Whoever waits looks again; in the service's thread."""
        self.news.set()
        self.news = asyncio.Event()

    def _tell(self) -> None:
        self._service.soon(self.tell)


def event(kind: str, seq: int, **fields: Any) -> str:
    return json.dumps({"type": kind, "seq": seq, "ts": int(time.time() * 1000), **fields}) + "\n"


class TerminalHandler(Handler):
    followed: FakeTerminal | None = None

    def all(self, sandbox_id: str) -> list[FakeTerminal]:
        sandbox: Sandbox = self.sandbox(sandbox_id)
        if sandbox.end is not None:
            self.refuse(410, "gone", sandbox.end["message"])
        return self.service.terminals.setdefault(sandbox_id, [])

    def one(self, sandbox_id: str, pty_id: str) -> FakeTerminal:
        return next(one for one in self.all(sandbox_id) if one.pty_id == pty_id)

    def on_connection_close(self) -> None:
        if self.followed:
            self.followed.streams.discard(self.request.connection.stream)
            self.followed.tell()

    async def stream(self, terminal: FakeTerminal, since: int) -> None:
        connection, self.followed = self.request.connection.stream, terminal
        terminal.streams.add(connection)
        try:
            if since < terminal.kept_from:
                lost = {"dropped_bytes": terminal.kept_from - since, "message": "7 bytes are missing.", "code": "x"}
                self.write(event("notice", terminal.kept_from, data=lost))
                since = terminal.kept_from
            while connection in terminal.streams:
                news = terminal.news
                if data := terminal.said[since:]:
                    since += len(data)
                    self.write(event("pty_data", since, data_b64=base64.b64encode(data).decode()))
                elif terminal.exit_code is not None:
                    if terminal.error:
                        self.write(event("pty_error", since, message=terminal.error, data=terminal.error))
                    self.write(event("pty_exit", since, data=terminal.exit_code))
                    return
                else:
                    await self.flush()
                    await asyncio.wait_for(news.wait(), BOUND)
        except iostream.StreamClosedError:
            return
        finally:
            terminal.streams.discard(connection)


class TerminalList(TerminalHandler):
    def get(self, sandbox_id: str) -> None:
        rows = [one.info() for one in self.all(sandbox_id)]
        if not self._finished:
            self.finish(json.dumps(rows))

    async def post(self, sandbox_id: str) -> None:
        terminals = self.all(sandbox_id)
        terminal = FakeTerminal(self.service, f"pty_{len(terminals)}", json.loads(self.request.body))
        terminals.append(terminal)
        self.write(event("pty_ready", 0, session_id=terminal.pty_id, data=terminal.pty_id))
        await self.stream(terminal, 0)


class Attach(TerminalHandler):
    async def get(self, sandbox_id: str, pty_id: str) -> None:
        terminal, since = self.one(sandbox_id, pty_id), int(self.get_argument("since_seq", "0"))
        terminal.attached.append(since)
        await self.stream(terminal, since)


class Act(TerminalHandler):
    def post(self, sandbox_id: str, pty_id: str, verb: str) -> None:
        terminal, asked = self.one(sandbox_id, pty_id), json.loads(self.request.body)
        if verb == "input":
            terminal.take(base64.b64decode(asked["data_b64"]))
        elif verb == "resize":
            terminal.sizes.append((asked["cols"], asked["rows"]))
        elif verb == "kill":
            terminal.end(137)
        else:
            kept = terminal.said[max(asked["since_seq"], terminal.kept_from) :]
            told = {"data_b64": base64.b64encode(kept).decode(), "seq": len(terminal.said), "dropped_bytes": 0}
            self.write(told | {"exit_code": terminal.exit_code})
            return
        self.set_status(204)


ONE = r"/sandboxes/(sbx_[0-9a-f]{32})/pty"
ROUTES = [
    (ONE, TerminalList),
    (ONE + r"/(\w+)/attach", Attach),
    (ONE + r"/(\w+)/(input|resize|kill|read)", Act),
]
