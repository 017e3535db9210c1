"""The kernels and checkpoints that one client of the supervisor holds; they end with its connection."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from ..errors import ConflictError, NotFoundError
from .handle import TerminalExit
from .kernel_exit import KernelExit
from .sleeping_kernel import SleepingKernel
from .supervised_kernel import SupervisedKernel
from .supervised_terminal import SupervisedTerminal

Tell = Callable[[dict[str, Any], Sequence[int]], None]
"""Send an event, whose descriptors are closed then."""
RECORDS_AT_ONCE = 64
"""Of connections, in one datagram."""


class Holdings:
    """By id. ``tell`` reaches the client."""

    def __init__(self, tell: Tell) -> None:
        self._held: dict[str, SupervisedKernel | SleepingKernel] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._terminals: dict[str, SupervisedTerminal] = {}
        self.tell = tell

    def __len__(self) -> int:
        return len(self._held)

    def get(self, kernel_id: object) -> SupervisedKernel | SleepingKernel:
        """Raises NotFoundError."""
        try:
            return self._held[str(kernel_id)]
        except KeyError:
            raise NotFoundError("There is no such kernel.") from None

    def live(self, kernel_id: object) -> SupervisedKernel:
        """Raises NotFoundError; ConflictError for a checkpoint."""
        kernel = self.get(kernel_id)
        if isinstance(kernel, SleepingKernel):
            raise ConflictError("This kernel sleeps.")
        return kernel

    def sleeping(self, kernel_id: object) -> SleepingKernel:
        """Raises NotFoundError; ConflictError for a live one."""
        kernel = self.get(kernel_id)
        if not isinstance(kernel, SleepingKernel):
            raise ConflictError("This kernel does not sleep.")
        return kernel

    def release(self, kernel_id: object) -> SupervisedKernel | SleepingKernel | None:
        """It is not the client's any more."""
        return self._held.pop(str(kernel_id), None)

    def adopt(self, kernel: SupervisedKernel, fds: list[int]) -> dict[str, Any]:
        """The kernel is this client's; what it needs to talk to it goes with the answer. Raises OSError."""
        fds.append(kernel.open_workspace())
        jail = kernel.branch.jail if kernel.branch else None
        owner = jail.owner if jail else None
        networking = jail.networking if jail else None
        if networking is not None:
            networking.heard = lambda records: self._tell_network(kernel.family, records)
        return {
            **self._hold(kernel),
            "connection_info": kernel.sockets.connection_info(),
            "owner_ids": [os.getuid(), os.getgid()] if owner is None else [owner, owner],
            "limits": asdict(kernel.limits),
            "egress": networking.egress.to_json() if networking is not None else None,
            "template": kernel.template.spec.name,
        }

    def _tell_network(self, family: str, records: Sequence[dict[str, object]]) -> None:
        for first in range(0, len(records), RECORDS_AT_ONCE):
            part = list(records[first : first + RECORDS_AT_ONCE])
            self.tell({"event": "network", "family": family, "records": part}, ())

    def adopt_terminal(self, terminal: SupervisedTerminal) -> None:
        """The terminal is this client's, who is told of its end."""
        self._terminals[terminal.terminal_id] = terminal

        def ended(exited: asyncio.Future[TerminalExit]) -> None:
            del self._terminals[terminal.terminal_id]
            self.tell({"event": "terminal", "terminal_id": terminal.terminal_id, **asdict(exited.result())}, ())

        terminal.exited.add_done_callback(ended)

    def terminal(self, terminal_id: object) -> SupervisedTerminal | None:
        """One that lives; None for one that has ended."""
        return self._terminals.get(str(terminal_id))

    def adopt_asleep(self, kernel: SleepingKernel) -> dict[str, Any]:
        """The checkpoint is this client's."""
        return {**self._hold(kernel), "asleep": True}

    def _hold(self, kernel: SupervisedKernel | SleepingKernel) -> dict[str, Any]:
        kernel_id = kernel.kernel_id
        self._held[kernel_id] = kernel
        kernel.exited.add_done_callback(lambda exited: self._tell_exit(kernel_id, exited.result()))
        pid = kernel.process.pid if kernel.process else 0
        return {"kernel_id": kernel_id, "family": kernel.family, "pid": pid}

    def _tell_exit(self, kernel_id: str, end: KernelExit) -> None:
        if kernel_id in self._held:
            self.tell({"event": "exit", "kernel_id": kernel_id, **asdict(end)}, ())

    def end_soon(self, kernel: SupervisedKernel) -> None:
        """End one that was released, while the client goes on: Linux takes 40 ms to give back a gigabyte."""
        task = asyncio.create_task(kernel.kill())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """End all. Idempotent."""
        kernels, self._held = list(self._held.values()), {}
        await asyncio.gather(*(kernel.kill() for kernel in kernels), *self._ending)
