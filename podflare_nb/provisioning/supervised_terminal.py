"""A terminal as the supervisor holds it: a command on a pseudo terminal, in the branch of a kernel or beside it.

Everything that holds for a kernel holds for it, since it enters the same way (``jail.enter``) into the same branch.
What it says does not pass here: the master goes to the client, which reads and types.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import NoCapacityError, NotFoundError
from . import datagrams, pseudo_terminal
from .branches import Branch
from .handle import TerminalExit, TerminalRefusal
from .jail import syscalls as sc
from .kernel_process import KernelProcess
from .orders import Orders
from .templates import Template, TemplateLostError

FORKED_SECONDS = 20.0
RUNS_SECONDS = 20.0
PASSES = 20
"""How often to look for what a session has started, before its leader is killed."""
WITH_KERNEL = "The sandbox's kernel ended, and all that ran in the sandbox with it."


@dataclass(frozen=True, slots=True)
class TerminalOrder:
    """What is to run, where: without a branch (``--isolation none``) beside the service."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    size: tuple[int, int]
    branch: Branch | None


class SupervisedTerminal:
    """One terminal. ``start`` it; ``exited`` resolves at its command's end; ``kill`` ends it."""

    def __init__(self) -> None:
        self.terminal_id = f"pty_{secrets.token_hex(16)}"
        self.exited: asyncio.Future[TerminalExit] = asyncio.get_running_loop().create_future()
        self._branch: Branch | None = None
        self._process: KernelProcess | None = None
        self._with_kernel = False

    def __repr__(self) -> str:
        return f"<SupervisedTerminal {self.terminal_id} {self._process!r}>"

    async def start(self, template: Template, order: TerminalOrder) -> int | TerminalRefusal:
        """Run the command; the master's descriptor, or why it cannot be run.

        Raises TemplateLostError, after which it may be tried with another template; NoCapacityError.
        """
        self._branch = order.branch
        try:
            root, owner = (order.branch.root, order.branch.jail.owner) if order.branch else (None, os.getuid())
            master, slave = pseudo_terminal.open_pair(root, owner, order.size)
        except OSError as error:
            raise NoCapacityError(f"A pseudo terminal could not be opened: {error.strerror or error}.") from error
        try:
            refusal = await self._run(template, order, slave)
        except BaseException:
            os.close(master)
            self._discard()
            raise
        if refusal is not None:
            os.close(master)
            return refusal
        return master

    async def _run(self, template: Template, order: TerminalOrder, slave: int) -> TerminalRefusal | None:
        ours, theirs = datagrams.pair()
        orders = Orders(ours)
        try:
            ending = template.ending(self.terminal_id)
            plan = order.branch.entry_plan().to_json() if order.branch else None
            rest = order.branch.entry_fds() if order.branch else []
            try:
                await template.spawn(self.terminal_id, plan, [slave, theirs.fileno(), *rest], op="terminal")
            finally:
                theirs.close()
                os.close(slave)
            forked = await orders.hear({"forked", "failed"}, FORKED_SECONDS)
            forked.close_fds()
            self._lives(KernelProcess.of_template(forked.pid, ending))
            return await self._told(orders, order)
        except OSError as error:
            raise NoCapacityError(f"A terminal could not be started: {error}") from error
        except NotFoundError:
            if await ending is None:
                raise TemplateLostError("The template ended while it was to fork.") from None
            raise NoCapacityError("A terminal could not be started: its process ended at once.") from None
        finally:
            orders.close()

    async def _told(self, orders: Orders, order: TerminalOrder) -> TerminalRefusal | None:
        """Tell the process what it is to run; None once it does. Command and environment go to it alone: what the
        template once read, later children could find."""
        command = os.memfd_create("command", os.MFD_CLOEXEC)
        try:
            os.write(command, json.dumps({"argv": order.argv, "env": order.env, "cwd": order.cwd}).encode())
            orders.send({"op": "run"}, [command])
        finally:
            os.close(command)
        try:
            failed = await orders.hear({"failed"}, RUNS_SECONDS)
        except NotFoundError:
            return None  # its end of the socket closed: by the exec, or because it was ended, which is told elsewhere
        failed.close_fds()
        sentence, code = str(failed.body.get("error"))[:1000], failed.body.get("exit_code")
        self._discard()
        if isinstance(code, int) and 0 < code < 256:
            return TerminalRefusal(sentence, code)
        raise NoCapacityError(f"A terminal could not be started: {sentence}")

    def _lives(self, process: KernelProcess) -> None:
        self._process = process
        process.ended.add_done_callback(self._ended)

    def _ended(self, ended: asyncio.Task[int | None]) -> None:
        status = None if ended.cancelled() else ended.result()
        code = None if status is None else os.waitstatus_to_exitcode(status)
        told = None if code is None else code if code >= 0 else 128 - code
        self.exited.set_result(TerminalExit(told, WITH_KERNEL if self._with_kernel else None))

    def _discard(self) -> None:
        """It is to be nothing: its process, which has started nothing yet, ends."""
        if self._process is not None:
            self._process.signal(signal.SIGKILL)

    async def kill(self) -> None:
        """End its command and all of its session. Idempotent."""
        if self._process is None or self._process.ended.done():
            return
        self._process.signal(signal.SIGSTOP)
        await asyncio.to_thread(_kill_session, self._process.pid, self._branch)
        await self._process.kill()

    async def end_with_kernel(self) -> None:
        """Its kernel ends. In a jail whoever ends that ends all that is in its control group."""
        self._with_kernel = True
        if self._branch is None:
            await self.kill()


def _kill_session(leader: int, branch: Branch | None) -> None:
    """Kill what is in a session but for its leader: while that is there, stopped, its number is nobody else's."""
    for _ in range(PASSES):
        among = branch.group.kernel_pids() if branch else _everybody()
        members = [pid for pid in among if pid != leader and _session(pid) == leader]
        if not members:
            return
        for pid in members:
            with suppress(OSError):  # it has ended
                pidfd = os.pidfd_open(pid)
                try:
                    if _session(pid) == leader:
                        sc.pidfd_send_signal(pidfd, signal.SIGKILL)
                finally:
                    os.close(pidfd)


def _everybody() -> Iterable[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal())


def _session(pid: int) -> int | None:
    """The session of a live process; None for one that has ended."""
    with suppress(OSError):
        state, _, _, session = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:4]
        return None if state in {"Z", "X"} else int(session)
    return None
