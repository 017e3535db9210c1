"""A small service that speaks the wire format and does what its script says: no kernel, every fault on demand."""

import asyncio
import json
import threading
from collections import deque
from functools import partial
from urllib.parse import urlsplit

from stand_in_terminals import ScriptedTerminals, answer_terminals
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

KEY = "pnb_stand_in"
SANDBOX_ID = "sbx_" + "5" * 32
ENDED_ID = "sbx_" + "e" * 32
CHILD_IDS = ["sbx_" + "c" * 31 + digit for digit in "0123"]
CUT = object()
"""In a list of events: the connection ends here. In ``faults``: it ends in the middle of the answer."""
DROP = object()
"""In ``faults``: the request is taken and never answered; the connection ends."""
NOON = "2026-01-01T12:00:00Z"
WAIT = object()
"""In a list of events, or in ``faults``: nothing more comes until the client goes."""

ANSWER_42 = [
    {"type": "stdout", "data": "42"},
    {"type": "exit", "data": 0, "status": "ok", "execution_count": 1, "state_preserved": True, "cell_id": "c1"},
]
CHANGED = {"type": "int", "shape": None, "repr": "1"}
DIFFERENCE = {
    "files": {
        "added": [{"path": "/root/new.csv", "size": 3}, {"path": "/tmp/new.csv", "size": 3}],
        "removed": [{"path": "/root/gone.csv", "size": 1}],
        "modified": [{"path": "/root/both.csv", "size": 1, "other_size": 2}],
        "truncated": False,
    },
    "variables": {
        "added": [{"name": "table", "type": "DataFrame", "shape": [2, 3], "repr": "..."}],
        "removed": [{"name": "old", "type": "int", "shape": None, "repr": "7"}],
        "changed": [{"name": "x", "before": CHANGED, "after": CHANGED | {"repr": "2"}}],
        "unknown": ["odd"],
    },
    "cells": {"added": 2, "removed": 0, "modified": 1, "diff": [{"op": "patch"}]},
}
NO_DIFFERENCE = {
    "files": {"added": [], "removed": [], "modified": [], "truncated": False},
    "variables": {"added": [], "removed": [], "changed": [], "unknown": []},
    "cells": {"added": 0, "removed": 0, "modified": 0, "diff": []},
}
INFO = {
    "id": SANDBOX_ID,
    "state": "ready",
    "template": "python-datasci",
    "created_at": "2026-01-01T00:00:00Z",
    "expires_at": "2026-01-01T01:00:00Z",
    "last_active_at": "2026-01-01T00:00:00Z",
    "timeout_seconds": 3600,
    "idle_timeout_seconds": 600,
    "labels": {},
    "limits": {"memory_mib": 2048, "cpus": 1.0, "pids": 256, "disk_mib": 1024},
    "kernel_id": "k",
    "egress": False,
    "end": None,
    "title": None,
}


def numbered(events, first=0):
    for seq, event in enumerate(events, first):
        yield event if event in (CUT, WAIT) else {"seq": seq, "ts": 1776510028036, **event}


class StandInService:
    """``script`` holds answers by (method, path below the sandbox); ``requests`` what came."""

    def __init__(self):
        self.requests = []
        self.connections = set()
        self.created = INFO
        self.exec_events = ANSWER_42
        self.chat_events = []
        self.resumed_events = deque()
        self.refusals = deque()
        self.faults = deque()
        self.files = {}
        self.terminals = ScriptedTerminals()
        self.fork_answer = {"children": CHILD_IDS, "warnings": [], "failures": []}
        self.difference = DIFFERENCE
        self.egress = False
        self.client_left = threading.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="stand-in")

    def __enter__(self):
        self._thread.start()
        assert self._started.wait(60)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)
        assert not self._thread.is_alive()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/podflare"

    def bodies(self, method, path_end):
        return [r["body"] for r in self.requests if r["method"] == method and r["path"].endswith(path_end)]

    def drop_idle_connections(self):
        dropped = threading.Event()

        async def drop():
            await self._server.close_all_connections()
            dropped.set()

        self._loop.call_soon_threadsafe(lambda: asyncio.ensure_future(drop()))
        assert dropped.wait(60)

    async def _run(self):
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = self._server = HTTPServer(Application([(r".*", Handler, {"service": self})]), max_buffer_size=1 << 30)
        sockets = bind_sockets(0, "127.0.0.1")
        self.port = sockets[0].getsockname()[1]
        server.add_sockets(sockets)
        self._started.set()
        await self._stop.wait()
        server.stop()
        await server.close_all_connections()


class Handler(RequestHandler):
    def initialize(self, service):
        self.service = service
        self.left = asyncio.Event()

    def log_exception(self, *_):
        pass

    def on_connection_close(self):
        self.left.set()
        self.service.client_left.set()

    async def handle(self):
        service, request = self.service, self.request
        # A request to a proxy names the whole URL.
        path = urlsplit(request.path).path
        service.connections.add(request.connection.context.address)
        service.requests.append(
            {
                "method": request.method,
                "path": path,
                "uri": request.uri,
                "headers": dict(request.headers),
                "body": request.body,
            }
        )
        if path == "/podflare/v1/healthz":
            self.finish("ok")
            return
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            self.refuse(401, "unauthenticated", "This key is not known.")
            return
        if service.refusals:
            self.refuse(*service.refusals.popleft())
            return
        if service.faults:
            await self.fail(service.faults.popleft())
            return
        rest = path.removeprefix("/podflare/v1")
        for known in (SANDBOX_ID, *CHILD_IDS):
            rest = rest.removeprefix("/sandboxes/" + known)
        await self.answer(rest)

    get = post = put = patch = delete = head = handle

    async def fail(self, fault):
        if fault is WAIT:
            await self.left.wait()
        elif fault is CUT:
            self.set_header("Content-Length", "100")
            self.write("{")
            await self.flush()
        self.request.connection.stream.close()

    async def answer(self, rest):
        name = rest.split("/")[1] if "/" in rest else ""
        known = {
            "sandboxes": self.sandboxes,
            "templates": self.templates,
            "capabilities": self.capabilities,
            "files": self.files_below,
            "exec": self.execute,
            "packages": self.execute,
            "replay": self.execute,
            "chat": self.chat,
            "interrupt": self.accepted,
            "record": self.record,
            "fork": self.fork,
            "diff": self.diff,
            "rewind": self.rewind,
            "pty": partial(answer_terminals, self),
            "branches": self.branches,
            "merge_into": self.merge,
            "network": self.network,
        }
        if name.startswith("notebook"):
            self.finish({"cells": [], "asked": name})
        elif name in known:
            await known[name](rest)
        elif self.request.method == "DELETE":
            self.set_status(204)
        else:
            if self.request.method == "PATCH":
                self.service.egress = json.loads(self.request.body).get("egress", self.service.egress)
            self.finish(INFO | {"egress": self.service.egress})

    async def network(self, _):
        refused = {"verdict": "refused", "protocol": "http", "host": "169.254.169.254", "port": 80, "sent": 0}
        told = {"at": "2026-01-01T00:00:00Z", "received": 0, "reason": "169.254.169.254 is no public address."}
        counts = {"sent_bytes": 10, "received_bytes": 20, "allowed": 0, "refused": 1}
        self.finish({"egress": self.service.egress, **counts, "connections": [refused | told]})

    async def sandboxes(self, rest):
        if rest.endswith(ENDED_ID):
            ended = {"reason": "idle_timeout", "message": "It was unused for 600 s.", "at": "2026-01-01T00:10:00Z"}
            self.finish(INFO | {"id": ENDED_ID, "state": "closed", "end": ended})
        elif rest != "/sandboxes":
            self.refuse(404, "not_found", "There is no such sandbox of yours.")
        elif self.request.method == "POST":
            self.set_header("Content-Type", "application/json")
            self.finish(json.dumps(self.service.created))
        else:
            second = self.get_query_argument("cursor", None)
            self.finish({"sandboxes": [INFO], "next_cursor": None if second else "page-2"})

    async def templates(self, _):
        row = {"name": "python-datasci", "display_name": "Data science", "default": True, "language": "python"}
        self.finish({"templates": [row | {"limits": {}, "state": "ready", "new_field": 1}]})

    async def capabilities(self, _):
        layers = [{"name": "seccomp", "available": True, "detail": "ok"}]
        models = {"default": "direct", "available": [{"name": "direct", "label": "Direct"}]}
        answer = {"version": "0.1.0", "isolation": "namespaces", "layers": layers, "models": models}
        self.finish(answer | {"templates": ["python-datasci"], "default_template": "python-datasci"})

    async def files_below(self, rest):
        path = rest.removeprefix("/files/")
        if self.request.method == "PUT":
            self.service.files[path] = self.request.body
            self.set_status(201)
            self.finish({"path": path, "size": len(self.request.body)})
        elif self.request.method == "DELETE":
            del self.service.files[path]
            self.set_status(204)
        elif path in {"%2E", "data"}:
            prefix = "" if path == "%2E" else path + "/"
            names = [name.removeprefix(prefix) for name in self.service.files if name.startswith(prefix)]
            rows = [{"name": n, "type": "file", "size": 1, "modified": NOON} for n in names if "/" not in n]
            self.finish({"path": path, "entries": rows})
        elif path in self.service.files:
            self.finish(self.service.files[path])
        else:
            self.refuse(404, "not_found", f"There is no file {path}.")

    async def execute(self, _):
        await self.stream(numbered(self.service.exec_events))

    async def chat(self, rest):
        if rest.endswith("/events"):
            after = int(self.get_query_argument("after"))
            events = self.service.resumed_events.popleft()
            await self.stream(one for one in events if one in (CUT, WAIT) or one["seq"] > after)
        elif self.request.method == "GET":
            row = {"turn_id": "t1", "status": "ok", "message": "hello", "model": "direct", "usage": None}
            self.finish({"turns": [row | {"started_at": "2026-01-01T00:00:00Z", "ended_at": None}]})
        elif rest == "/chat":
            await self.stream(numbered(self.service.chat_events))
        else:
            await self.accepted(rest)

    async def accepted(self, _):
        self.set_status(202)
        self.finish({})

    async def record(self, _):
        self.set_status(201)
        self.finish({"cell_id": "said"})

    async def fork(self, _):
        n = json.loads(self.request.body).get("n", 1)
        self.finish(self.service.fork_answer | {"children": self.service.fork_answer["children"][:n]})

    async def diff(self, _):
        self.finish(self.service.difference)

    async def merge(self, _):
        self.set_status(204)

    async def rewind(self, _):
        turn_id = json.loads(self.request.body)["turn_id"]
        self.finish({"sandbox_id": SANDBOX_ID, "turn_id": turn_id, "branch": CHILD_IDS[0]})

    async def branches(self, _):
        forked = {"sandbox_id": SANDBOX_ID, "turn_id": "t1", "at": NOON}
        row = {"state": "ready", "created_at": NOON, "ended_at": None, "end_reason": None, "merged_into": None}
        first = row | {"id": SANDBOX_ID, "forked_from": None, "title": "hello"}
        ended = {"state": "closed", "ended_at": NOON, "end_reason": "merged", "merged_into": SANDBOX_ID}
        child = row | {"id": CHILD_IDS[0], "forked_from": forked, "title": None} | ended
        self.finish({"branches": [first, child], "checkpoints": [{"turn_id": "t1", "at": NOON, "private_bytes": 9}]})

    async def stream(self, events):
        self.set_header("Content-Type", "application/x-ndjson")
        for event in events:
            if event is CUT:
                await self.flush()
                self.request.connection.stream.close()
                return
            if event is WAIT:
                await self.flush()
                await self.left.wait()
                return
            self.write(json.dumps(event) + "\n")
            await self.flush()

    def refuse(self, status, code, sentence, details=None, headers=None):
        self.set_status(status)
        for name, value in (headers or {}).items():
            self.set_header(name, value)
        self.finish({"error": sentence, "code": code, "details": details or {}})
