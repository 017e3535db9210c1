"""Rehearses a kernel's life in the template: connects, serves requests of every kind, and takes all of it down again.

What runs for the first time imports, compiles, caches and specialises its byte code, and writes to memory while it
does. Done once in the template, these pages stay shared by all children: a child starts sooner, its first cell is as
quick as its hundredth, and it needs megabytes less of its own. Afterwards the process has one thread again and none of
the descriptors; ``template`` checks that.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import zmq
from jupyter_client.session import Session

from .ipykernel_seam import TemplateApp
from .transport import CHANNELS

CONNECTIONS = 8
"""Python 3.11 and later specialise a function's byte code in about its eighth call."""
REPETITIONS = 20
POLL_SECONDS = 0.0005
DEADLINE_SECONDS = 60
KEY = b"rehearsal"
Request = tuple[str, dict[str, Any]]


def execute(code: str) -> Request:
    """An execute_request."""
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
    return "execute_request", {**content, "stop_on_error": True}


OTHER_REQUESTS: tuple[Request, ...] = (
    ("kernel_info_request", {}),
    ("comm_info_request", {}),
    ("is_complete_request", {"code": "for i in range(3):"}),
    ("complete_request", {"code": "import os; os.pa", "cursor_pos": 16}),
    ("complete_request", {"code": "pri", "cursor_pos": 3}),
    ("inspect_request", {"code": "print", "cursor_pos": 5, "detail_level": 0}),
    ("history_request", {"hist_access_type": "tail", "n": 3, "output": False, "raw": True}),
)


def rehearse(app: TemplateApp, cells: Iterable[str], directory: str) -> None:
    """Play the cells and every other kind of request. ``directory``: for sockets, for the time being."""
    requests = [*OTHER_REQUESTS, *map(execute, cells), *[execute("print(6*7)"), execute("6*7")] * REPETITIONS]
    for number in range(CONNECTIONS):
        place = Path(directory, f"stage{number}")
        place.mkdir()
        _rehearse_once(app, requests if number == 0 else requests[:1], place)


def _rehearse_once(app: TemplateApp, requests: Iterable[Request], place: Path) -> None:
    standard = {fd: os.dup(fd) for fd in (1, 2)}
    disposition = signal.getsignal(signal.SIGINT)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    app.connect(_listeners(place), KEY).start()
    try:
        loop.run_until_complete(asyncio.wait_for(_play(requests, place), DEADLINE_SECONDS))
    finally:
        app.disconnect()
        asyncio.set_event_loop(None)
        signal.signal(signal.SIGINT, disposition)
        for fd, saved in standard.items():
            os.dup2(saved, fd)
            os.close(saved)


def _listeners(place: Path) -> Mapping[str, int]:
    fds = {}
    for channel in CHANNELS:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        listener.bind(str(place / channel))
        listener.listen(1)
        fds[channel] = listener.detach()
    return fds


async def _play(requests: Iterable[Request], place: Path) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    shell, iopub = context.socket(zmq.DEALER), context.socket(zmq.SUB)
    try:
        iopub.subscribe(b"")
        iopub.connect(f"ipc://{place}/iopub")
        shell.connect(f"ipc://{place}/shell")
        session = Session(key=KEY)
        await _heard(session, iopub, "iopub_welcome", None)
        for kind, content in requests:
            request = session.msg(kind, content)
            session.send(shell, request)
            await _heard(session, iopub, "idle", request["header"]["msg_id"])
            while shell.poll(0):
                shell.recv_multipart()
    finally:
        context.destroy(linger=0)


async def _heard(session: Session, iopub: zmq.Socket[bytes], what: str, request_id: str | None) -> None:
    while True:
        if not iopub.poll(0):
            await asyncio.sleep(POLL_SECONDS)
            continue
        _, message = session.recv(iopub)
        if message is None:
            continue
        heard = message["content"].get("execution_state") or message["msg_type"]
        if what == heard and request_id in {None, message["parent_header"].get("msg_id")}:
            return
