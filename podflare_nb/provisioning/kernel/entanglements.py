"""Finds what ties a kernel to the rest of the world and cannot be in two places: sentences that name it.

Threads, child processes, sockets and pipes, terminals, tasks: a fork's children get none of them. Only names them;
``inventory`` puts dead ends in their place, so that no child holds open or reads what is its parent's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .descriptors import Descriptor
from .service import Heartbeat, Service

NAMED = 8
"""So many are named of each kind; of more, their number."""
NAME_CHARACTERS = 120
TASKS = Path("/proc/self/task")
_QUIET_MODULES = ("tqdm",)
"""Their threads only watch; to go without is no loss."""
_QUIET_COMMANDS = ("multiprocessing.resource_tracker", "multiprocessing.semaphore_tracker")


@dataclass(frozen=True, slots=True)
class Entanglement:
    """``text``: a sentence; ``kind``: threads, processes, sockets, terminals, tasks, mappings, files, hooks, random."""

    kind: str
    text: str

    def as_json(self) -> dict[str, str]:
        """As the supervisor gets it."""
        return {"kind": self.kind, "text": self.text}


def found(kind: str, sentence: str, names: Sequence[str]) -> list[Entanglement]:
    """One, if there are names. ``sentence``: with ``{}`` for them."""
    if not names:
        return []
    shown = ", ".join(_clean(name) for name in names[:NAMED])
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return [Entanglement(kind, sentence.format(shown + more))]


def _clean(name: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in name[: NAME_CHARACTERS + 1])[:NAME_CHARACTERS]


def threads() -> list[Entanglement]:
    """The user's threads. Threads of C libraries look after themselves."""
    names = [
        thread.name
        for thread in threading.enumerate()
        if not isinstance(thread, Service | Heartbeat)
        and thread is not threading.main_thread()
        and not type(thread).__module__.startswith(_QUIET_MODULES)
    ]
    return found("threads", "Threads run on in the parent only: {}.", [str(name) for name in names])


def children() -> list[int]:
    """Child processes by pid, those included that have ended and for which nobody has waited yet."""
    pids: list[int] = []
    for task in TASKS.iterdir():
        with contextlib.suppress(OSError):  # a thread that has ended, or a Linux without this file
            pids += map(int, (task / "children").read_text().split())
    return pids


def processes(pids: Iterable[int]) -> list[Entanglement]:
    """Those of the ``children`` that run."""
    names = []
    for pid in pids:
        command = _command(pid)
        if command is not None and not any(quiet in command for quiet in _QUIET_COMMANDS):
            names.append(f"{command} (pid {pid})")
    return found("processes", "Child processes stay the parent's: {}.", names)


def _command(pid: int) -> str | None:
    """None of a zombie."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
        if line:
            return os.fsdecode(line[: 2 * NAME_CHARACTERS].replace(b"\0", b" ").strip())
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    name, _, rest = state.partition("(")[2].rpartition(")")
    return None if rest.split()[0] in {"Z", "X"} else name


def tasks(loop: asyncio.AbstractEventLoop, own: Iterable[asyncio.Task[Any]]) -> list[Entanglement]:
    """Tasks that the user left in the event loop."""
    names = []
    for task in asyncio.all_tasks(loop) - set(own):
        work = task.get_coro()
        names.append(f"{task.get_name()} ({getattr(work, '__qualname__', None) or type(work).__name__})")
    return found("tasks", "Tasks of the event loop run on in the parent only: {}.", sorted(names))


def connections(descriptors: Iterable[Descriptor]) -> list[Entanglement]:
    """Sockets, pipes and terminals among descriptors that are the user's."""
    sockets, terminals = [], []
    for each in descriptors:
        with each.unless_gone():
            if each.is_socket:
                sockets.append(f"{_socket_name(each.fd)} (descriptor {each.fd})")
            elif each.is_pipe:
                end = "reading" if each.reads else "writing"
                sockets.append(f"{end} end of a pipe (descriptor {each.fd})")
            elif each.is_terminal:
                terminals.append(f"{each.link} (descriptor {each.fd})")
    return [
        *found("sockets", "Connections stay the parent's: {}.", sockets),
        *found("terminals", "Terminals stay the parent's: {}.", terminals),
    ]


def _socket_name(fd: int) -> str:
    with socket.socket(fileno=os.dup(fd)) as probe:
        family = probe.family.name.removeprefix("AF_").lower() if isinstance(probe.family, socket.AddressFamily) else ""
        kind = {socket.SOCK_STREAM: "stream", socket.SOCK_DGRAM: "datagram"}.get(probe.type, "")
        for direction, address in (("to", probe.getpeername), ("at", probe.getsockname)):
            with contextlib.suppress(OSError):
                if where := _address(address()):
                    return f"{family} {kind} socket {direction} {where}".strip()
    return f"{family} {kind} socket".strip()


def _address(address: Any) -> str:
    if isinstance(address, tuple):
        host, port, *_ = address
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    return os.fsdecode(address).replace("\0", "@") if address else ""
