"""A sandbox's kernel as Jupyter's server holds a kernel: from a live sandbox to what a websocket attaches to.

Made when somebody attaches, dropped with the last attachment; it has no socket of its own. It neither starts nor
ends anything: the sandbox does. Its id is the sandbox's, so it stays when the kernel behind it is replaced, merged
or rewound; key and socket paths stay too, and ZeroMQ's sockets connect anew by themselves. Those attached hear of
a death as of any kernel's. Above: ``shared_kernels``; below: the kernel's handle. A sandbox stands higher than this
package: what is wanted of one is the protocol here.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime
from typing import Any, Protocol, cast
from uuid import UUID

from jupyter_client.connect import KernelConnectionInfo
from jupyter_server.services.kernels.kernelmanager import ServerKernelManager
from tornado import web

from ..errors import PodflareError
from ..protocol.states import SandboxState
from ..provisioning.handle import KernelHandle
from ..provisioning.tenure import Tenure

SANDBOX_ID = re.compile(r"sbx_([0-9a-f]{32})")
SUCCESSOR_SECONDS = 60.0
"""How long a sandbox may take to put a new kernel in the place of one that ended."""


class Keeper(Protocol):
    """Has the kernel of a sandbox, and puts another in the place of one that ends."""

    @property
    def handle(self) -> KernelHandle:
        """The kernel it has now."""

    @property
    def tenure(self) -> Tenure:
        """That kernel's time there, by which those after it are found."""

    def begin_kill(self) -> None:
        """End the kernel without waiting; it is replaced on the same files."""


class LiveSandbox(Protocol):
    """What Jupyter's API wants of a sandbox."""

    @property
    def id(self) -> str:
        """``sbx_`` and 32 hexadecimal digits."""

    @property
    def tenant_id(self) -> str:
        """Its owner."""

    @property
    def template(self) -> str:
        """The kernelspec that it is of."""

    @property
    def state(self) -> SandboxState:
        """What it does now."""

    @property
    def last_active_at(self) -> datetime:
        """When it was last used."""

    @property
    def kernel(self) -> Keeper:
        """Its kernel, whichever it is."""

    async def interrupt(self) -> None:
        """Interrupt what runs now, whoever runs it. Raises PodflareError."""


class LiveSandboxes(Protocol):
    """The live sandboxes of the service."""

    @property
    def live(self) -> Mapping[str, LiveSandbox]:
        """By id, of all tenants."""


def kernel_id_of(sandbox_id: str) -> str | None:
    """Spell a sandbox's id as Jupyter spells a kernel's: a UUID. None for an id that is not a sandbox's."""
    match = SANDBOX_ID.fullmatch(sandbox_id)
    return str(UUID(match.group(1))) if match else None


def sandbox_id_of(kernel_id: str) -> str | None:
    """Give the id of the sandbox that a kernel id is made of; None if it cannot be one."""
    digits = kernel_id.replace("-", "")
    sandbox_id = f"sbx_{digits}"
    return sandbox_id if kernel_id_of(sandbox_id) == kernel_id else None


def is_over(sandbox: LiveSandbox) -> bool:
    """Whether it is ending or has ended: its kernel is offered no more."""
    return sandbox.state in {"closing", "closed"}


def execution_state(sandbox: LiveSandbox) -> str:
    """Say what it does in Jupyter's words."""
    if sandbox.kernel.handle.exited.done():
        return "restarting"
    return "busy" if sandbox.state == "busy" else "idle"


class SandboxKernel(ServerKernelManager):
    """What a websocket holds of a sandbox's kernel. Jupyter's seam; its ``parent`` is the ``SharedKernelManager``."""

    def __init__(self, sandbox: LiveSandbox, **kwargs: Any) -> None:
        super().__init__(owns_kernel=False, kernel_id=kernel_id_of(sandbox.id), kernel_name=sandbox.template, **kwargs)
        self.connections = 0
        self._sandbox = sandbox
        self._callbacks: dict[str, list[Callable[[], object]]] = {"restart": [], "dead": []}
        self._watched: Tenure | None = None
        self._following: asyncio.Task[None] | None = None
        self._asked_for: Tenure | None = None
        """Of the kernel whose end somebody attached asked for."""
        self.load_connection_info(cast("KernelConnectionInfo", dict(sandbox.kernel.handle.connection_info)))
        self.ready.set_result(None)
        # Attaching waits for an answer to kernel_info on the shell, so behind whatever runs; for the protocol's version
        # alone, which all of ours share.
        self._kernel_info_future: Future[dict[str, Any]] = Future()
        self._kernel_info_future.set_result({})

    def __repr__(self) -> str:
        return f"<SandboxKernel {self._sandbox.id} connections={self.connections}>"

    async def is_alive(self) -> bool:  # type: ignore[override] # the base of the base is synchronous
        """Whether there is a kernel now; who attaches waits for it."""
        return not self._sandbox.kernel.handle.exited.done()

    async def interrupt_kernel(self, *_: Any, **__: Any) -> None:  # type: ignore[override] # the same
        """Interrupt through the sandbox, so that its executor knows why the cell ends."""
        try:
            await self._sandbox.interrupt()
        except PodflareError as error:
            raise web.HTTPError(409, error.message) from error

    async def restart_kernel(self, *_: Any, **__: Any) -> None:  # type: ignore[override] # the same
        """Put a new kernel in the place of this one: files stay, variables are lost, what ran and waits is told."""
        old = self._asked_for = self._sandbox.kernel.tenure
        self._sandbox.kernel.begin_kill()
        if await self._successor(old) is None:
            raise web.HTTPError(409, "The kernel could not be replaced; its sandbox has ended.")

    async def shutdown_kernel(self, *_: Any, **__: Any) -> None:  # type: ignore[override] # the same
        """Refuse: a kernel's end would be its sandbox's."""
        raise web.HTTPError(
            409,
            f"This kernel is the sandbox {self._sandbox.id}, whose work would be lost with it. To end it, close the "
            f"sandbox: DELETE /podflare/v1/sandboxes/{self._sandbox.id}, or on the chat page.",
        )

    def add_restart_callback(self, callback: Callable[[], object], event: str = "restart") -> None:
        """Have ``callback`` called when the kernel was lost (``restart``), or the sandbox ended (``dead``)."""
        self._callbacks[event].append(callback)
        if self._following is None and self._watched is None:
            self._watch(self._sandbox.kernel.tenure)

    def remove_restart_callback(self, callback: Callable[[], object], event: str = "restart") -> None:
        """Call it no more."""
        with suppress(ValueError):
            self._callbacks[event].remove(callback)
        if not any(self._callbacks.values()):
            if self._watched is not None:
                self._watched.handle.exited.remove_done_callback(self._exited)
                self._watched = None
            if self._following is not None:
                self._following.cancel()

    def _watch(self, tenure: Tenure) -> None:
        self._watched = tenure
        tenure.handle.exited.add_done_callback(self._exited)

    def _exited(self, exited: asyncio.Future[Any]) -> None:
        """Tell of a death; a kernel that the service ended itself has a successor with the same connections."""
        ended, self._watched = self._watched, None
        if ended is None or exited.cancelled():
            return
        if exited.result().cause != "closed" and ended is not self._asked_for:
            self._tell("restart")
        self._following = asyncio.get_running_loop().create_task(self._follow(ended))

    async def _follow(self, ended: Tenure) -> None:
        try:
            successor = await self._successor(ended)
            if successor is None:
                self._tell("dead")
            elif any(self._callbacks.values()):
                self._watch(successor)
        finally:
            self._following = None

    async def _successor(self, ended: Tenure) -> Tenure | None:
        """Wait for the sandbox's next kernel; None if there will be none."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SUCCESSOR_SECONDS):
                return await ended.successor()
        return None

    def _tell(self, event: str) -> None:
        for callback in list(self._callbacks[event]):
            callback()
