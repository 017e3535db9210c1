"""The first moments of a kernel: forked from its template with its sockets, told who it is, heard to serve."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import NoCapacityError, NotFoundError
from . import datagrams
from .branches import Branch
from .jail.plan import WORKSPACE
from .kernel_process import KernelProcess
from .kernel_sockets import KernelSockets
from .orders import Orders
from .templates import Template, TemplateLostError

UP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Start:
    """What a kernel is forked into. Without a branch (``--isolation none``) it runs in ``home``."""

    template: Template
    branch: Branch | None
    sockets: KernelSockets
    home: Path | None
    env: Mapping[str, str]


async def spawn(kernel_id: str, start: Start) -> tuple[Orders, KernelProcess]:
    """Fork a kernel from its template and wait until it serves. Raises TemplateLostError, NoCapacityError."""
    listening = start.sockets.listen()
    ours, theirs = datagrams.pair()
    orders = Orders(ours)
    try:
        ending = start.template.ending(kernel_id)
        plan = start.branch.entry_plan().to_json() if start.branch else None
        rest = start.branch.entry_fds() if start.branch else []
        try:
            await start.template.spawn(kernel_id, plan, [*listening, theirs.fileno(), *rest])
        finally:
            theirs.close()
            for fd in listening:
                os.close(fd)
        try:
            # Key and environment go to the child alone: what the template once read, later children could find.
            orders.send({"op": "serve", "key": start.sockets.key, **surroundings(start)})
            pid = (await heard("up", orders)).pid
        except NotFoundError:
            status = await ending
            if status is None:
                raise TemplateLostError("The template ended while it was to fork.") from None
            raise NoCapacityError(f"A kernel could not be started: it ended at once (wait status {status}).") from None
        return orders, KernelProcess.of_template(pid, ending)
    except BaseException:
        orders.close()
        raise


def surroundings(start: Start) -> dict[str, Any]:
    """The environment (``env``) and the directory (``cwd``) that it starts with."""
    networking = start.branch.jail.networking if start.branch else None
    network = networking.environment if networking is not None else {}
    environment = {**start.template.environment, **network, **start.env}
    if start.branch:
        return {"env": environment, "cwd": WORKSPACE}
    return {"env": {**environment, "HOME": str(start.home)}, "cwd": str(start.home)}


async def heard(event: str, orders: Orders) -> datagrams.Datagram:
    """Wait for "risen" or "up" (it serves); what is said then. Raises NotFoundError, NoCapacityError."""
    answer = await orders.hear({event, "failed"}, UP_SECONDS)
    answer.close_fds()
    if answer.body["event"] != event or not answer.pid:
        raise NoCapacityError(f"A kernel could not be started: {str(answer.body.get('error'))[:500]}")
    return answer
