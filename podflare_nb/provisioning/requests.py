"""What a client of the supervisor may ask for: one function for each request, all in ``REQUESTS``.

Clients are processes of the same user, so requests are taken as they are; what kernels say is not.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import ConflictError, NoCapacityError, NotFoundError
from ..protocol.egress import Egress
from . import awakening, listening, live_fork
from .branches import Branch
from .factory import KernelFactory
from .fork_files import because
from .handle import TerminalRefusal
from .holdings import Holdings
from .jail import inside, overlay_changes
from .limits import Limits
from .network.namespaces import open_socket
from .sleeping_kernel import SleepingKernel
from .succession import succeed as let_succeed
from .supervised_kernel import SupervisedKernel
from .terminal_opening import open_terminal

MAX_FORKS = 32
VARIABLES_SECONDS = 10.0
"""Beyond the budget that the kernel is given."""
CHANGES_SECONDS = 30.0
NO_NETWORK = (
    "Without isolation a sandbox has no network of its own: its servers listen on this machine itself. Open "
    "http://127.0.0.1:<port> there."
)


@dataclass(slots=True)
class Request:
    """One request under way. ``fds`` go with the answer."""

    factory: KernelFactory
    holdings: Holdings
    body: dict[str, Any]
    fds: list[int] = field(default_factory=list)

    @property
    def kernel(self) -> SupervisedKernel:
        """The live kernel that it is about. Raises NotFoundError, ConflictError."""
        return self.holdings.live(self.body["kernel_id"])


Answer = dict[str, Any]


async def _describe(request: Request) -> Answer:
    return {"templates": request.factory.describe(), "kernels": len(request.holdings)}


async def _acquire(request: Request) -> Answer:
    body = request.body
    limits = Limits(**body["limits"]) if body.get("limits") else None
    kernel = await request.factory.acquire(body["template"], limits, body.get("env") or {})
    if body.get("egress") is not None:
        try:
            await kernel.set_egress(Egress.from_json(body["egress"]))
        except BaseException:
            await kernel.kill()
            raise
    return await _adopted(request, kernel)


async def _set_egress(request: Request) -> Answer:
    await request.kernel.set_egress(Egress.from_json(request.body["egress"]))
    return {}


async def _adopted(request: Request, kernel: SupervisedKernel) -> Answer:
    try:
        return request.holdings.adopt(kernel, request.fds)
    except OSError as error:
        await kernel.kill()
        raise because(error) from error


async def _replace(request: Request) -> Answer:
    dead = request.kernel
    request.holdings.release(dead.kernel_id)
    try:
        return await _adopted(request, await request.factory.replace(dead))
    except BaseException:
        await dead.kill()
        raise


async def _signal(request: Request) -> Answer:
    request.kernel.send_signal(request.body["signum"])
    return {}


async def _usage(request: Request) -> Answer:
    kernel = request.holdings.get(request.body["kernel_id"])
    if isinstance(kernel, SleepingKernel):
        return asdict(await kernel.usage())
    if kernel.branch is None:
        return {}
    networking = kernel.branch.jail.networking
    sent, received = networking.traffic() if networking is not None else (None, None)
    return {**asdict(kernel.branch.group.cgroup.usage()), "sent_bytes": sent, "received_bytes": received}


async def _kill(request: Request) -> Answer:
    kernel = request.holdings.release(request.body["kernel_id"])
    if kernel is not None:
        await kernel.kill()
    return {}


async def _fork(request: Request) -> Answer:
    body, parent = request.body, request.kernel
    wish = live_fork.Wish(int(body["n"]), float(body["wait_seconds"]), bool(body["strict"]), bool(body["asleep"]))
    if not 1 <= wish.n <= MAX_FORKS:
        raise ConflictError(f"A kernel is forked into 1 to {MAX_FORKS}, not {wish.n}.")
    branch = parent.branch
    before = branch and branch.name
    try:
        outcome = await live_fork.fork(parent, wish, request.factory.new_sockets)
    finally:  # it may have moved, and then no child come of it
        if branch is not None and branch.name != before:
            _tell_moved(request.holdings, parent)
    children = []
    for child in outcome.children:
        if isinstance(child, SleepingKernel):
            children.append(request.holdings.adopt_asleep(child))
            continue
        try:
            children.append(request.holdings.adopt(child, request.fds))
        except OSError as error:
            outcome.failures.append(because(error).message)
            await child.kill()
    if not children:
        raise NoCapacityError(outcome.failures[0])
    return {
        "children": children,
        "warnings": [asdict(warning) for warning in outcome.warnings],
        "failures": outcome.failures,
    }


def _tell_moved(holdings: Holdings, parent: SupervisedKernel) -> None:
    """The parent's files are found in another root now; if its user removed the workspace, nowhere new."""
    try:
        workspace = parent.open_workspace()
    except OSError:
        return
    holdings.tell({"event": "moved", "kernel_id": parent.kernel_id}, [workspace])


async def _wake(request: Request) -> Answer:
    sleeper = request.holdings.sleeping(request.body["kernel_id"])
    return await _adopted(request, await awakening.wake(sleeper, request.factory.new_sockets))


async def _variables(request: Request) -> Answer:
    kernel, budget = request.kernel, float(request.body["budget_seconds"])
    if kernel.orders is None:
        raise NotFoundError("The kernel has ended.")
    with kernel.orders.exclusively():
        number = kernel.orders.give("variables", budget_seconds=budget)
        answer = await kernel.orders.hear({"variables", "refused"}, budget + VARIABLES_SECONDS, number)
    if answer.body["event"] == "refused":
        answer.close_fds()
        if answer.body.get("code") == "busy":
            raise ConflictError("Code is still running in the kernel.")
        raise NoCapacityError(f"The variables could not be listed: {str(answer.body.get('error'))[:500]}.")
    if len(answer.fds) != 1 or not _is_memory(answer.fds[0]):
        answer.close_fds()
        raise NoCapacityError("The kernel told its variables in a way that is not to be read.")
    request.fds += answer.fds
    return {}


def _is_memory(descriptor: int) -> bool:
    """Whether it is a file in memory (memfd_create(2)): to read one neither waits nor has an effect."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError:
        return False
    return True


async def _changes(request: Request) -> Answer:
    ours, theirs = request.kernel.branch, request.holdings.live(request.body["other"]).branch
    if ours is None or theirs is None or ours.jail is not theirs.jail:
        raise ConflictError("Only the files of forks of one another can be compared.")
    plan = ours.jail.plan
    stacks = ours.stack.directories(plan), theirs.stack.directories(plan)

    def work(tell: inside.Tell, _host: int) -> None:
        changes = overlay_changes.compare(*stacks, budget=overlay_changes.Budget()).encode()
        memory = os.memfd_create("changes", os.MFD_CLOEXEC)
        with os.fdopen(memory, "wb") as file:
            file.write(changes)
            file.flush()
            tell({"changes": len(changes)}, (memory,))

    try:
        async with asyncio.timeout(CHANGES_SECONDS), ours.jail.errand(work, in_background=True) as errand:
            async for told in errand:
                request.fds += told.fds
    except OSError as error:
        raise NoCapacityError(f"The files could not be compared: {error.strerror or 'it took too long'}.") from error
    return {}


async def _succeed(request: Request) -> Answer:
    holdings = request.holdings
    predecessor = holdings.live(request.body["predecessor"])
    successor = holdings.live(request.body["successor"])
    before = successor.kernel_id
    await let_succeed(predecessor, successor)
    holdings.release(before)
    holdings.release(predecessor.kernel_id)
    try:
        return holdings.adopt(successor, request.fds)
    finally:
        holdings.end_soon(predecessor)


async def _open_terminal(request: Request) -> Answer:
    opened = await open_terminal(request.kernel, request.factory, request.body)
    if isinstance(opened, TerminalRefusal):
        return {"refused": asdict(opened)}
    terminal, master = opened
    request.fds.append(master)
    request.holdings.adopt_terminal(terminal)
    return {"terminal_id": terminal.terminal_id}


async def _listening(request: Request) -> Answer:
    branch = _branch_with_network(request)
    found = listening.read(branch.jail.network, branch.group.kernel_pids())
    return {"listeners": [{"port": each.port, "address": each.address, "process": each.process} for each in found]}


async def _dial(request: Request) -> Answer:
    family = socket.AF_INET6 if request.body["ipv6"] else socket.AF_INET
    jail = _branch_with_network(request).jail
    try:
        request.fds.append(open_socket(jail.network, family, socket.SOCK_STREAM).detach())
    except OSError as error:
        raise NoCapacityError(f"The sandbox's network cannot be reached: {error.strerror}.") from error
    return {}


def _branch_with_network(request: Request) -> Branch:
    """Raises ConflictError without a jail: what listens on this machine is not one sandbox's to show to others."""
    branch = request.kernel.branch
    if branch is None:
        raise ConflictError(NO_NETWORK)
    if branch.jail.network < 0:
        raise NotFoundError("The kernel has ended.")
    return branch


async def _kill_terminal(request: Request) -> Answer:
    terminal = request.holdings.terminal(request.body["terminal_id"])
    if terminal is not None:
        await terminal.kill()
    return {}


REQUESTS: dict[str, Callable[[Request], Awaitable[Answer]]] = {
    "describe": _describe,
    "acquire": _acquire,
    "replace": _replace,
    "set_egress": _set_egress,
    "signal": _signal,
    "usage": _usage,
    "kill": _kill,
    "fork": _fork,
    "wake": _wake,
    "variables": _variables,
    "changes": _changes,
    "succeed": _succeed,
    "listening": _listening,
    "dial": _dial,
    "open_terminal": _open_terminal,
    "kill_terminal": _kill_terminal,
}
