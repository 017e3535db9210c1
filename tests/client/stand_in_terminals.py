"""The terminals of the stand-in service: streams and reads answer what the script says."""

import base64
import json
from collections import deque

STAMP = 1776510028036
READY = {"type": "pty_ready", "session_id": "pty_1", "data": "pty_1", "seq": 0, "ts": STAMP}
ROWS = [
    {"pty_id": "pty_0", "cmd_label": "vim", "created_at_ms": STAMP, "exit_code": 0},
    {"pty_id": "pty_1", "cmd_label": "bash -l", "created_at_ms": STAMP, "exit_code": None},
]


def b64(data):
    return base64.b64encode(data).decode()


def said(data, seq):
    """An event: ``data`` was said, ``seq`` bytes in all."""
    return {"type": "pty_data", "data_b64": b64(data), "seq": seq, "ts": STAMP}


def ended(code, seq):
    return {"type": "pty_exit", "data": code, "seq": seq, "ts": STAMP}


def piece(data, seq, exit_code=None, dropped=0):
    """What a read answers."""
    return {"data_b64": b64(data), "seq": seq, "dropped_bytes": dropped, "exit_code": exit_code}


class ScriptedTerminals:
    """``created``: the stream of the call that makes one; ``attached`` and ``pieces``: one for each later call."""

    def __init__(self):
        self.created = [READY, said(b"$ ", 2), ended(0, 2)]
        self.attached = deque()
        self.pieces = deque()


async def answer_terminals(handler, rest):
    script, verb = handler.service.terminals, rest.rpartition("/")[2]
    if verb == "pty" and handler.request.method == "GET":
        handler.finish(json.dumps(ROWS))
    elif verb == "pty":
        await handler.stream(script.created)
    elif verb == "attach":
        await handler.stream(script.attached.popleft())
    elif verb == "read":
        handler.finish(script.pieces.popleft())
    else:
        handler.set_status(204)
