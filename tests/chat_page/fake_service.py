"""A stand-in for the service: speaks the HTTP API with scripted turns, and serves the committed page with its CSP.

It exists for what a real kernel cannot be asked to do on cue: break the connection in mid-turn, answer hostile
outputs, refuse, wait. The tests that need no such thing run against the real service.
"""

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripted_events import CUT, HOLD, Event, nothing_differs
from tornado import httpserver, iostream, netutil, web

PAGE = Path(__file__).parents[2] / "podflare_nb" / "static" / "chat"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
KEY = "the-key"
STAMP = "2026-11-23T20:55:00Z"
BOUND = 120

TEMPLATES = [
    {
        "name": "python-datasci",
        "display_name": "Data science",
        "description": "numpy, pandas, matplotlib",
        "default": True,
        "state": "ready",
    },
    {
        "name": "python-minimal",
        "display_name": "Minimal Python",
        "description": "the standard library",
        "default": False,
        "state": "ready",
    },
]


@dataclass
class Turn:
    """One turn: what it has told so far, and whoever waits for more."""

    turn_id: str
    message: str
    model: str
    log: list[Event] = field(default_factory=list)
    cuts: set[int] = field(default_factory=set)
    grew: asyncio.Event = field(default_factory=asyncio.Event)
    status: str = "running"

    def tell(self, kind: str, data: dict[str, Any]) -> None:
        event = {"type": kind, "data": data, "seq": len(self.log), "ts": int(time.time() * 1000)}
        self.log.append(event)
        if kind == "turn-end":
            self.status = data["status"]
        self.grew.set()
        self.grew = asyncio.Event()

    def info(self) -> dict[str, Any]:
        ended = None if self.status == "running" else STAMP
        return {
            "turn_id": self.turn_id, "status": self.status, "message": self.message, "model": self.model,
            "started_at": STAMP, "ended_at": ended, "usage": None,
        }  # fmt: skip


@dataclass
class Sandbox:
    """One sandbox as the API tells it, with its turns and files."""

    id: str
    template: str
    turns: list[Turn] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    state: str = "ready"
    end: dict[str, str] | None = None
    parent: "Sandbox | None" = None
    forked_at_turn: str | None = None
    merged_into: str | None = None
    checkpoints: int = 0
    egress: Any = True

    @property
    def forked_from(self) -> dict[str, Any] | None:
        if self.parent is None:
            return None
        return {"sandbox_id": self.parent.id, "turn_id": self.forked_at_turn, "at": STAMP}

    @property
    def first(self) -> "Sandbox":
        return self if self.parent is None else self.parent.first

    def branch(self) -> dict[str, Any]:
        """The sandbox as the tree of its family tells it."""
        told = self.info()
        cells = len(self.notebook()["cells"]) if self.state == "ready" else None
        return {
            "id": self.id, "forked_from": self.forked_from, "state": told["state"], "created_at": STAMP,
            "ended_at": self.end and STAMP, "end_reason": self.end and self.end["reason"],
            "merged_into": self.merged_into, "title": told["title"], "n_cells": cells,
        }  # fmt: skip

    def kept(self) -> list[dict[str, Any]]:
        """The turns that it can be rewound to."""
        over = [turn for turn in self.turns if turn.status != "running"]
        return [
            {"turn_id": turn.turn_id, "at": STAMP, "private_bytes": 900_000}
            for turn in (over[-self.checkpoints :] if self.checkpoints else [])
        ]

    def info(self) -> dict[str, Any]:
        busy = any(turn.status == "running" for turn in self.turns)
        return {
            "id": self.id, "state": "busy" if busy and self.state == "ready" else self.state,
            "template": self.template, "created_at": STAMP, "expires_at": STAMP, "last_active_at": STAMP,
            "labels": {}, "limits": {}, "end": self.end, "title": self.turns[0].message if self.turns else None,
            "forked_from": self.forked_from, "merged_into": self.merged_into, "checkpoints": self.checkpoints,
            "egress": self.egress,
        }  # fmt: skip

    def notebook(self) -> dict[str, Any]:
        cells: list[dict[str, Any]] = []
        for turn in self.turns:
            for event in turn.log:
                data = event["data"]
                if event["type"] == "cell-start":
                    cells.append(recorded(turn, data))
                elif event["type"] == "text-delta":
                    cells[-1]["source"] += data["text"]
                elif event["type"] == "cell-output":
                    cells[-1].setdefault("outputs", []).append(data["output"])
                elif event["type"] == "cell-end" and cells[-1]["cell_type"] == "code":
                    cells[-1]["execution_count"] = data.get("execution_count")
        return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}


def recorded(turn: Turn, data: dict[str, Any]) -> dict[str, Any]:
    own = {"role": data["role"], "turn_id": turn.turn_id}
    return {
        "id": data["cell_id"],
        "cell_type": data["cell_type"],
        "source": data["source"],
        "metadata": {"podflare_nb": own},
    }


Script = list[Event]


class FakeService:
    """The scripted service. ``scripts`` maps a message to what its turn does; others get an empty turn."""

    def __init__(self, *more_routes: tuple[str, type[web.RequestHandler]]) -> None:
        self.more_routes = more_routes
        self.terminals: dict[str, list[Any]] = {}
        self.sandboxes: dict[str, Sandbox] = {}
        self.scripts: dict[str, Script] = {}
        self.models: list[dict[str, str]] = [{"name": "direct", "label": "Direct"}]
        self.sent: list[dict[str, Any]] = []
        self.approvals: list[dict[str, Any]] = []
        self.forked: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self.difference: dict[str, Any] = nothing_differs()
        self.open_keys = True
        self.refuse: dict[str, tuple[int, dict[str, Any]]] = {}
        self.url = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gates: list[asyncio.Event] = []

    def release(self) -> None:
        """Lets every held turn go on."""
        self.soon(lambda: [gate.set() for gate in self._gates])

    def soon(self, act: Callable[[], object]) -> None:
        """Does something in the service's thread."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(act)

    def add(self, template: str = "python-datasci") -> Sandbox:
        sandbox = Sandbox(f"sbx_{len(self.sandboxes):032x}", template)
        self.sandboxes[sandbox.id] = sandbox
        return sandbox

    def close(self, sandbox: Sandbox, reason: str = "idle_timeout") -> None:
        sandbox.state = "closed"
        sandbox.end = {"reason": reason, "message": "It was idle for 30 minutes.", "at": STAMP}

    def fork(self, parent: Sandbox) -> Sandbox:
        child = self.add(parent.template)
        child.parent, child.turns, child.files = parent, list(parent.turns), dict(parent.files)
        child.forked_at_turn = parent.turns[-1].turn_id if parent.turns else None
        return child

    def merge(self, parent: Sandbox, winner: Sandbox) -> None:
        parent.turns, parent.files = list(winner.turns), dict(winner.files)
        self.close(winner, "merged")
        winner.merged_into = parent.id
        winner.end = {"reason": "merged", "message": f"{winner.id} was merged into {parent.id}.", "at": STAMP}

    async def play(self, turn: Turn) -> None:
        """Runs a turn's script to its end."""
        turn.tell("turn-start", {"turn_id": turn.turn_id, "message": turn.message, "model": turn.model})
        user = {"cell_id": f"{turn.turn_id}-user", "cell_type": "markdown", "role": "user", "source": turn.message}
        turn.tell("cell-start", user)
        turn.tell("cell-end", {"cell_id": user["cell_id"], "status": "ok"})
        for step in self.scripts.get(turn.message, []):
            if step is HOLD:
                gate = asyncio.Event()
                self._gates.append(gate)
                await asyncio.wait_for(gate.wait(), BOUND)
            elif step is CUT:
                turn.cuts.add(len(turn.log))
            else:
                turn.tell(step["type"], dict(step["data"]))
            if turn.status != "running":
                return
        turn.tell("turn-end", {"status": "ok"})

    @contextmanager
    def serve(self, prefix: str = "") -> Iterator[str]:
        """The address of the page, served on a free port from a thread of its own."""
        started = threading.Event()
        stop: list[Callable[[], None]] = []

        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            over = asyncio.Event()
            stop.append(lambda: self._loop and self._loop.call_soon_threadsafe(over.set))
            sockets = netutil.bind_sockets(0, "127.0.0.1")
            server = httpserver.HTTPServer(application(self, prefix))
            server.add_sockets(sockets)
            self.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}{prefix}/podflare"
            started.set()
            await over.wait()
            server.stop()
            await server.close_all_connections()

        thread = threading.Thread(target=lambda: asyncio.run(main()))
        thread.start()
        assert started.wait(BOUND)
        try:
            yield self.url
        finally:
            self.release()
            stop[0]()
            thread.join(BOUND)


class Handler(web.RequestHandler):
    """Authorises and answers JSON."""

    def initialize(self, service: FakeService) -> None:
        self.service = service

    def prepare(self) -> None:
        given = self.request.headers.get("Authorization") == f"Bearer {KEY}"
        if not (self.service.open_keys or given):
            self.refuse(401, "unauthorized", "A key is missing or wrong.")
        xsrf = self.get_cookie("_xsrf")
        if self.request.method not in ("GET", "HEAD") and xsrf != self.request.headers.get("X-XSRFToken"):
            self.refuse(403, "forbidden", "The XSRF header is missing.")
        for part, (status, body) in self.service.refuse.items():
            if re.search(part, f"{self.request.method} {self.request.path}") and not self._finished:
                self.set_status(status)
                self.finish(body)

    def refuse(self, status: int, kind: str, sentence: str) -> None:
        self.set_status(status)
        self.finish({"error": sentence, "code": kind, "details": {}})

    def sandbox(self, sandbox_id: str) -> Sandbox:
        if sandbox_id not in self.service.sandboxes:
            raise web.HTTPError(404)
        return self.service.sandboxes[sandbox_id]

    def turn(self, sandbox_id: str, turn_id: str) -> Turn:
        return next(turn for turn in self.sandbox(sandbox_id).turns if turn.turn_id == turn_id)

    async def tell(self, turn: Turn, after: int, *, cut: bool) -> None:
        self.set_header("Content-Type", "application/x-ndjson")
        at = after + 1
        try:
            while True:
                for event in turn.log[at:]:
                    if cut and event["seq"] in turn.cuts:
                        await self.flush()
                        self.request.connection.stream.close()  # type: ignore[union-attr]
                        return
                    self.write(json.dumps(event) + "\n")
                at = max(at, len(turn.log))
                await self.flush()
                if turn.status != "running":
                    return
                await asyncio.wait_for(turn.grew.wait(), BOUND)
        except iostream.StreamClosedError:
            return


class Capabilities(Handler):
    def get(self) -> None:
        models = self.service.models
        self.write({"isolation": "namespaces", "models": {"default": models[0]["name"], "available": models}})


class Templates(Handler):
    def get(self) -> None:
        self.write({"templates": TEMPLATES})


class Sandboxes(Handler):
    def get(self) -> None:
        infos = [sandbox.info() for sandbox in reversed(self.service.sandboxes.values())]
        self.write({"sandboxes": infos, "next_cursor": None})

    def post(self) -> None:
        asked = json.loads(self.request.body)
        sandbox = self.service.add(asked.get("template", "python-datasci"))
        sandbox.checkpoints = asked.get("checkpoints", 0)
        sandbox.egress = asked.get("egress", True)
        self.write(sandbox.info())


class OneSandbox(Handler):
    def get(self, sandbox_id: str) -> None:
        self.write(self.sandbox(sandbox_id).info())

    def patch(self, sandbox_id: str) -> None:
        egress = json.loads(self.request.body)["egress"]
        if egress == {"allow": ["two words"]}:
            self.refuse(400, "invalid_argument", "egress.allow has 'two words', which is no host name.")
            return
        self.sandbox(sandbox_id).egress = egress
        self.write(self.sandbox(sandbox_id).info())

    def delete(self, sandbox_id: str) -> None:
        self.service.close(self.sandbox(sandbox_id), "closed")
        self.set_status(204)


class Fork(Handler):
    def post(self, sandbox_id: str) -> None:
        asked = json.loads(self.request.body)
        self.service.forked.append(asked)
        children = [self.service.fork(self.sandbox(sandbox_id)).id for _ in range(asked["n"])]
        self.write({"children": children, "warnings": self.service.warnings, "failures": []})


class Merge(Handler):
    def post(self, parent_id: str, winner_id: str) -> None:
        self.service.merge(self.sandbox(parent_id), self.sandbox(winner_id))
        self.set_status(204)


class Diff(Handler):
    def post(self, sandbox_id: str) -> None:  # noqa: ARG002 - what differs is the script's to say
        self.write(self.service.difference)


class Rewind(Handler):
    def post(self, sandbox_id: str) -> None:
        sandbox, turn_id = self.sandbox(sandbox_id), json.loads(self.request.body)["turn_id"]
        branch = self.service.fork(sandbox)
        at = [turn.turn_id for turn in sandbox.turns].index(turn_id)
        sandbox.turns = sandbox.turns[: at + 1]
        self.write({"sandbox_id": sandbox.id, "turn_id": turn_id, "branch": branch.id})


class Branches(Handler):
    def get(self, sandbox_id: str) -> None:
        sandbox = self.sandbox(sandbox_id)
        family = [each.branch() for each in self.service.sandboxes.values() if each.first is sandbox.first]
        self.write({"branches": family, "checkpoints": sandbox.kept()})


class Notebook(Handler):
    def get(self, sandbox_id: str, form: str | None) -> None:
        if form:
            self.set_header("Content-Disposition", "attachment")
        self.write(self.sandbox(sandbox_id).notebook())


class Chat(Handler):
    def get(self, sandbox_id: str) -> None:
        self.write({"turns": [turn.info() for turn in self.sandbox(sandbox_id).turns]})

    async def post(self, sandbox_id: str) -> None:
        sandbox = self.sandbox(sandbox_id)
        asked = json.loads(self.request.body)
        self.service.sent.append(asked)
        turn = Turn(f"turn_{len(self.service.sent)}", asked["message"], asked.get("model", "direct"))
        sandbox.turns.append(turn)
        playing = asyncio.create_task(self.service.play(turn))
        await self.tell(turn, -1, cut=True)
        await asyncio.wait_for(playing, BOUND)

    def log_exception(self, *_: object) -> None:
        """A connection that the script tore is no news."""


class Events(Handler):
    async def get(self, sandbox_id: str, turn_id: str) -> None:
        await self.tell(self.turn(sandbox_id, turn_id), int(self.get_argument("after", "-1")), cut=False)


class Steer(Handler):
    def post(self, sandbox_id: str, turn_id: str, verb: str) -> None:
        turn = self.turn(sandbox_id, turn_id)
        if verb == "approve":
            self.service.approvals.append(json.loads(self.request.body))
        else:
            turn.tell("turn-end", {"status": "cancelled"})
        self.service.release()
        self.set_status(202)


class Files(Handler):
    def get(self, sandbox_id: str, path: str) -> None:
        files = self.sandbox(sandbox_id).files
        if path in files:
            self.write(files[path])
            return
        entries = [{"name": name, "type": "file", "size": len(body), "modified": STAMP} for name, body in files.items()]
        self.write({"path": path, "entries": entries})

    def put(self, sandbox_id: str, path: str) -> None:
        self.sandbox(sandbox_id).files[path] = self.request.body
        self.set_status(201)
        self.write({"path": path, "size": len(self.request.body)})


class Assets(web.StaticFileHandler):
    def set_extra_headers(self, path: str) -> None:  # noqa: ARG002 - Tornado's signature
        self.set_header("X-Content-Type-Options", "nosniff")


class Page(web.RequestHandler):
    def get(self) -> None:
        self.set_header("Content-Security-Policy", CSP)
        self.set_cookie("_xsrf", "2|0a1b|2c3d|1776510028")
        self.write((PAGE / "index.html").read_text())


def application(service: FakeService, prefix: str) -> web.Application:
    one, parts = r"/sandboxes/(sbx_[0-9a-f]{32})", {"service": service}
    branches = [
        (one + r"/fork", Fork), (one + r"/merge_into/(sbx_[0-9a-f]{32})", Merge), (one + r"/diff", Diff),
        (one + r"/rewind", Rewind), (one + r"/branches", Branches),
    ]  # fmt: skip
    api = [
        (r"/capabilities", Capabilities), (r"/templates", Templates), (r"/sandboxes", Sandboxes), (one, OneSandbox),
        (one + r"/notebook(\.\w+)?", Notebook), (one + r"/chat", Chat), (one + r"/chat/(\w+)/events", Events),
        (one + r"/chat/(\w+)/(cancel|approve)", Steer), (one + r"/files/(.*)", Files),
    ]  # fmt: skip
    return web.Application(
        [(f"{prefix}/podflare/v1{path}", handler, parts) for path, handler in [*api, *branches, *service.more_routes]]
        + [(f"{prefix}/podflare", Page), (f"{prefix}/podflare/static/(.*)", Assets, {"path": PAGE})],
        log_function=lambda _: None,
    )
