"""The terminals of one sandbox: those that live, and the last that have ended.

They belong to the sandbox, not to who made them or follows them, and end with it, with its kernel, and when a merge or
a rewind puts another state in its place. Below: ``terminal``; above: ``sandbox``.
"""

import asyncio
import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ..errors import ConflictError, InvalidArgumentError, NotFoundError, TooLargeError
from ..protocol.terminals import MAX_COMMAND_BYTES
from ..provisioning.handle import KernelHandle, TerminalCommand, TerminalHandle, TerminalRefusal
from .terminal import Terminal
from .terminal_pump import TerminalPump
from .terminal_ring import Allowance

MAX_LIVE = 16
MAX_ENDED = 32
KERNEL_LOOKS, KERNEL_LOOK_SECONDS = 100, 0.05
"""How often to try again while a kernel that died is replaced, and how far apart."""
LABEL_CHARACTERS = 80
LOGIN_SHELL = ("bash", "-l")
LOGIN_COMMAND = ("bash", "-lc")


@dataclass(frozen=True, slots=True)
class TerminalService:
    """What the terminals of all sandboxes share."""

    pump: TerminalPump
    allowance: Allowance


class Terminals:
    """``handle`` gives the kernel that the sandbox has now; ``was_used`` is called when somebody types."""

    def __init__(
        self,
        shared: TerminalService,
        handle: Callable[[], KernelHandle],
        was_used: Callable[[], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._shared, self._handle, self._was_used, self._clock = shared, handle, was_used, clock
        self._terminals: dict[str, Terminal] = {}
        self._making = 0
        self._closed: str | None = None

    def __repr__(self) -> str:
        return f"<Terminals live={len(self._live())} ended={len(self._terminals) - len(self._live())}>"

    async def open(self, command: TerminalCommand) -> Terminal | TerminalRefusal:
        """Run a command on a terminal. Raises ConflictError, TooLargeError, NoCapacityError."""
        _check_size(command)
        if self._closed is not None:
            raise ConflictError("The sandbox is closing and takes no more terminals. Create another one.")
        if len(self._live()) + self._making >= MAX_LIVE:
            raise ConflictError(f"A sandbox has at most {MAX_LIVE} terminals. End one of them first.")
        self._making += 1
        try:
            return await self._open(command)
        finally:
            self._making -= 1

    async def _open(self, command: TerminalCommand) -> Terminal | TerminalRefusal:
        created_at_ms = int(self._clock().timestamp() * 1000)
        handle = await self._run(command)
        if isinstance(handle, TerminalRefusal):
            return handle
        terminal = Terminal(handle, label_of(command.argv), created_at_ms, self._shared.pump, self._shared.allowance)
        self._terminals[terminal.pty_id] = terminal
        terminal.ended.add_done_callback(lambda _: self._ended(terminal))
        self._was_used()
        if self._closed is not None:  # meanwhile
            terminal.end(self._closed)
            await terminal.kill()
        return terminal

    async def _run(self, command: TerminalCommand) -> TerminalHandle | TerminalRefusal:
        """Run it beside the kernel; one that has just died is about to be replaced."""
        for _ in range(KERNEL_LOOKS):
            kernel = self._handle()
            try:
                return await kernel.open_terminal(command)
            except NotFoundError:
                if self._closed is not None:
                    break
                await asyncio.sleep(KERNEL_LOOK_SECONDS)
        raise ConflictError("The sandbox has no kernel at the moment. Try again.")

    def get(self, pty_id: str) -> Terminal:
        """One by its id, live or ended. Raises NotFoundError."""
        try:
            return self._terminals[pty_id]
        except KeyError:
            raise NotFoundError(f"There is no terminal {pty_id[:60]!r} in this sandbox.") from None

    def all(self) -> list[Terminal]:
        """All that are listed, oldest first."""
        return list(self._terminals.values())

    async def type(self, pty_id: str, data: bytes) -> None:
        """Type into one; that keeps the sandbox from being idle. Raises what ``get`` and ``Terminal.write`` raise."""
        terminal = self.get(pty_id)
        self._was_used()
        await terminal.write(data)

    async def end_all(self, message: str) -> None:
        """End those that live, saying why; returns when their commands have ended."""
        live = self._live()
        for terminal in live:
            terminal.end(message)
        await asyncio.gather(*(terminal.kill() for terminal in live))

    async def aclose(self, message: str) -> None:
        """The sandbox ends: so do its terminals, and there will be no others. Idempotent."""
        self._closed = self._closed or message
        await self.end_all(self._closed)

    def _live(self) -> list[Terminal]:
        return [terminal for terminal in self._terminals.values() if terminal.exit_code is None]

    def _ended(self, terminal: Terminal) -> None:
        terminal.ring.shorten()
        ended = [each for each in self._terminals.values() if each.exit_code is not None]
        for each in ended[: max(len(ended) - MAX_ENDED, 0)]:
            del self._terminals[each.pty_id]


def command_of(shell_command: str | None, argv: Sequence[str] | None) -> Sequence[str]:
    """What is run: a login shell's command, a program, or a login shell. Raises InvalidArgumentError."""
    if shell_command is not None and argv is not None:
        raise InvalidArgumentError("shellCmd and argv are both given; give one of them, or neither for a login shell.")
    if argv is not None:
        if not argv[0]:
            raise InvalidArgumentError("argv[0] is ''; it must be the name or the path of a program.")
        return argv
    return LOGIN_SHELL if shell_command is None else (*LOGIN_COMMAND, shell_command)


def label_of(argv: Sequence[str]) -> str:
    """A command in short: one line that can be shown."""
    shown = argv[2] if tuple(argv[:2]) == LOGIN_COMMAND and len(argv) == 3 else shlex.join(argv[:LABEL_CHARACTERS])
    line = "".join(c if c.isprintable() else " " for c in shown[: 2 * LABEL_CHARACTERS])
    return line if len(line) <= LABEL_CHARACTERS else f"{line[: LABEL_CHARACTERS - 3]}..."


def _check_size(command: TerminalCommand) -> None:
    size = len(json.dumps([list(command.argv), dict(command.env), command.cwd]))
    if size > MAX_COMMAND_BYTES:
        raise TooLargeError(
            f"The command, its env and its cwd have {size} bytes as JSON; the limit is {MAX_COMMAND_BYTES} (64 KiB). "
            "Put what is large into a file of the sandbox.",
            limit=MAX_COMMAND_BYTES,
            size=size,
        )
