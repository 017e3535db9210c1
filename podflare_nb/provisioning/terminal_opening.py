"""Opens a terminal beside a kernel: in its branch, at a moment when no fork changes that, with its environment.

Above: ``requests``; below: ``supervised_terminal``.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import nullcontext
from typing import Any

from ..errors import ConflictError, NotFoundError
from .factory import KernelFactory
from .handle import TerminalRefusal
from .kernel_start import surroundings
from .orders import ENDED
from .supervised_kernel import SupervisedKernel
from .supervised_terminal import SupervisedTerminal, TerminalOrder
from .templates import TemplateLostError

PATH_VARIABLE = "PODFLARE_NB_PATH"
"""A login shell makes PATH anew; ``jail.skeleton`` puts the template's own programs back."""
ENTER_SECONDS = 45.0
"""How long to wait for a fork of the same kernel, and for the command to run, at most."""


async def open_terminal(
    kernel: SupervisedKernel, factory: KernelFactory, body: dict[str, Any]
) -> tuple[SupervisedTerminal, int] | TerminalRefusal:
    """A terminal, and its master's descriptor. Raises ConflictError, NotFoundError, NoCapacityError."""
    lock = kernel.branch.entering if kernel.branch else nullcontext()
    try:
        async with asyncio.timeout(ENTER_SECONDS), lock:
            return await _open(kernel, factory, body)
    except TimeoutError:
        raise ConflictError("The sandbox was busy with a fork for too long. Try again.") from None


async def _open(
    kernel: SupervisedKernel, factory: KernelFactory, body: dict[str, Any]
) -> tuple[SupervisedTerminal, int] | TerminalRefusal:
    if kernel.exited.done():
        raise NotFoundError(ENDED)
    terminal = SupervisedTerminal()
    kernel.terminals.add(terminal)
    terminal.exited.add_done_callback(lambda _: kernel.terminals.discard(terminal))
    try:
        master = await _start(terminal, factory, kernel, _order(body, kernel))
    except BaseException:
        kernel.terminals.discard(terminal)
        raise
    if isinstance(master, TerminalRefusal):
        kernel.terminals.discard(terminal)
        return master
    if kernel.exited.done():  # what ended it may not have known of the terminal yet
        os.close(master)
        await terminal.kill()
        raise NotFoundError(ENDED)
    return terminal, master


async def _start(
    terminal: SupervisedTerminal, factory: KernelFactory, kernel: SupervisedKernel, order: TerminalOrder
) -> int | TerminalRefusal:
    try:
        return await terminal.start(await factory.template_of(kernel), order)
    except TemplateLostError:  # it had just ended: the next attempt starts it again
        return await terminal.start(await factory.template_of(kernel), order)


def _order(body: dict[str, Any], kernel: SupervisedKernel) -> TerminalOrder:
    begins = surroundings(kernel.as_start())
    env = {**begins["env"], "TERM": "xterm-256color", **body["env"]}
    env.setdefault(PATH_VARIABLE, env.get("PATH", ""))
    columns, rows = body["size"]
    workspace: str = begins["cwd"]
    cwd = os.path.join(workspace, body["cwd"] or "")  # noqa: PTH118 - a path of the sandbox, which is not looked at here
    return TerminalOrder(body["argv"], env, cwd, (columns, rows), kernel.branch)
