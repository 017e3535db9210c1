"""Terminals as the service holds them, over the connection that opened them (``handle.TerminalHandle``)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from .handle import TerminalCommand, TerminalExit, TerminalRefusal
from .supervisor_link import ENDED, LostError, SupervisorLink


class Terminal:
    """A live terminal (``handle.TerminalHandle``)."""

    def __init__(self, link: SupervisorLink, terminal_id: str, master: int) -> None:
        self._link = link
        self.terminal_id = terminal_id
        self.master = master
        self.exited: asyncio.Future[TerminalExit] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        return f"<Terminal {self.terminal_id} {'ended' if self.exited.done() else 'alive'}>"

    async def kill(self) -> None:
        """See ``handle.TerminalHandle``."""
        with suppress(LostError):
            await self._link.request("kill_terminal", terminal_id=self.terminal_id)

    def ended(self, end: TerminalExit) -> None:
        """The supervisor says that it ended."""
        if not self.exited.done():
            self.exited.set_result(end)


class HeldTerminals:
    """All that live of one connection, by id."""

    def __init__(self) -> None:
        self._terminals: dict[str, Terminal] = {}

    def __len__(self) -> int:
        return len(self._terminals)

    async def open(self, link: SupervisorLink, kernel_id: str, command: TerminalCommand) -> Terminal | TerminalRefusal:
        """See ``handle.KernelHandle.open_terminal``."""
        answer, fds = await link.request("open_terminal", kernel_id=kernel_id, **asdict(command))
        if "refused" in answer:
            return TerminalRefusal(**answer["refused"])
        terminal = Terminal(link, answer["terminal_id"], fds.pop())
        self._terminals[terminal.terminal_id] = terminal
        terminal.exited.add_done_callback(lambda _: self._terminals.pop(terminal.terminal_id, None))
        return terminal

    def hear(self, told: dict[str, Any]) -> None:
        """The supervisor tells of the end of one of them."""
        terminal = self._terminals.get(told["terminal_id"])
        if terminal is not None:
            terminal.ended(TerminalExit(told["exit_code"], told["message"]))

    def lose(self) -> None:
        """The supervisor has ended, and all of them with it."""
        for terminal in list(self._terminals.values()):
            terminal.ended(TerminalExit(None, ENDED))
