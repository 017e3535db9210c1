"""Makes a forked process a kernel: environment, randomness, an event loop, the transport; then serves until the end.

The same for a child of a template, which has no transport yet, and for a child of a live kernel, which holds its
parent's: what is old is abandoned first. Everything that it needs is imported by now, because the jail may show other
files. Below: ``ipykernel_seam``; above: ``template``.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from .. import datagrams
from .ipykernel_seam import TemplateApp
from .reseed import reseed
from .transport import Transport


@dataclass(frozen=True, slots=True)
class Handover:
    """What a process is given to become a kernel.

    ``listeners``: a listening unix socket's descriptor for each of ``transport.CHANNELS``; ``ctl``: the supervisor's
    channel to this kernel; ``env``: the whole environment.
    """

    listeners: dict[str, int]
    ctl: socket.socket
    key: bytes
    env: Mapping[str, str]
    cwd: str


def serve(app: TemplateApp, handover: Handover) -> NoReturn:
    """Become the kernel and serve until shutdown. Raises only before "up" is sent."""
    _apply_environment(handover)
    reseed()
    loop = _fresh_loop()
    transport = app.connect(handover.listeners, handover.key)
    transport.service.io_loop.add_callback(
        transport.service.watch, handover.ctl.fileno(), lambda: _from_supervisor(handover.ctl)
    )
    loop.call_soon(datagrams.send, handover.ctl, {"event": "up", "pid": os.getpid()})
    _run(loop)
    _end(transport)


def _apply_environment(handover: Handover) -> None:
    os.environ.clear()
    os.environ.update(handover.env)
    time.tzset()
    os.chdir(handover.cwd)
    temporary = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108  # what tempfile would find, without trying by a file
    tempfile.tempdir = temporary if os.access(temporary, os.W_OK | os.X_OK) else None
    if (platform := sys.modules.get("platform")) is not None:
        platform._uname_cache = None  # type: ignore[attr-defined]  # noqa: SLF001  # the host's name, asked for in the template
    if "" not in sys.path:
        sys.path.insert(_first_site_directory(), "")


def _first_site_directory() -> int:
    """Where IPython puts the working directory: after the standard library."""
    for index, path in enumerate(sys.path):
        if os.path.basename(path) in {"site-packages", "dist-packages"}:  # noqa: PTH119  # entries need not be paths
            return index
    return 0


def _fresh_loop() -> asyncio.AbstractEventLoop:
    asyncio._set_running_loop(None)  # noqa: SLF001  # the fork may have happened inside of the parent's loop
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


def _from_supervisor(ctl: socket.socket) -> None:
    """In the service thread: without a supervisor there is no kernel, even in the middle of a cell."""
    try:
        order = datagrams.receive(ctl)
    except (datagrams.PeerClosedError, OSError):
        os._exit(0)
    order.close_fds()
    refusal = f"a kernel does not know the order {order.body.get('op')!r}"
    datagrams.send(ctl, {"event": "refused", "error": refusal})


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until it is stopped; nothing that the user's tasks and signal handlers raise in it ends it."""
    while True:
        try:
            loop.run_forever()
        except (KeyboardInterrupt, SystemExit):
            continue  # asyncio lets these two of a task through; the task keeps them, too
        except BaseException:  # noqa: BLE001  # an alarm that went off between two cells: shown, as it has no cell
            traceback.print_exc()
            continue
        return


def _end(transport: Transport) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(BaseException):  # the user's exit functions: their failure is nobody's news any more
        atexit._run_exitfuncs()  # noqa: SLF001  # what the interpreter's own end would call
    transport.close()
    os._exit(0)
