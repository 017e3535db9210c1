"""Keeps a sandbox supplied with a living kernel: connects it, hears of its death, puts a new one on its files.

Hands what the kernel says to the executor as it is. Death is told by the handle's ``exited``; a kernel that ends
its connections but lives on (user code that closes every descriptor) is ended. Three deaths within a minute, each
before the kernel began to work, end the keeper: ``kernel_hopeless``. Below: ``kernel_connection``, the handle and
the source of kernels. Above: ``executor`` as the listener, ``sandbox`` as the owner.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from ..errors import PodflareError
from ..protocol.states import EndReason
from ..provisioning.handle import KernelHandle, KernelSource
from ..provisioning.kernel_exit import KernelExit
from . import deaths
from .kernel_connection import KernelConnection
from .messages import Received

log = logging.getLogger(__name__)

_EXIT_SECONDS = 1.0
"""How long a kernel that ended its connections may take to end itself."""
_KILL_SECONDS = 10.0


class KeeperListener(Protocol):
    """Who hears of the kernel, whichever it is. All are called on the event loop."""

    def kernel_ready(self) -> None:
        """A kernel takes executions; called for each one."""

    def kernel_said(self, message: Received) -> None:
        """A message on iopub."""

    def kernel_replied(self, message: Received) -> None:
        """A reply on shell."""

    def kernel_died(self, ending: KernelExit) -> None:
        """The kernel ended; another one is on its way."""

    def kernel_hopeless(self, reason: EndReason, message: str) -> None:
        """There will be no other kernel."""


class KernelKeeper:
    """The kernel of one sandbox and its successors."""

    def __init__(
        self,
        source: KernelSource,
        handle: KernelHandle,
        *,
        new_id: Callable[[], str],
        max_message_bytes: int,
    ) -> None:
        self.handle = handle
        self.last_exit: KernelExit | None = None
        self._source = source
        self._new_id = new_id
        self._max_message_bytes = max_message_bytes
        self._loop = asyncio.get_running_loop()
        self._connection: KernelConnection | None = None
        self._listener: KeeperListener | None = None
        self._deaths: tuple[float, ...] = ()
        self._broke: str | None = None
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<KernelKeeper {self.handle.kernel_id} {'closed' if self._closed else 'open'} {self._connection!r}>"

    @property
    def ready(self) -> bool:
        """Whether a kernel takes executions now."""
        return self._connection is not None and self._connection.ready

    def start(self, listener: KeeperListener) -> None:
        """Connect the kernel; ``listener`` hears of everything from now on."""
        self._listener = listener
        self._attach()

    def execute(self, code: str) -> str:
        """Send an execution to the kernel, which is ``ready``; returns its message id."""
        if self._connection is None:
            raise RuntimeError("an execution was sent to a kernel that is not there")
        return self._connection.execute(code)

    async def interrupt(self) -> None:
        """Interrupt what the kernel runs."""
        await self.handle.send_signal(signal.SIGINT)

    def begin_interrupt(self) -> None:
        """Interrupt without waiting."""
        self._begin(self.interrupt())

    def begin_kill(self) -> None:
        """End the kernel without waiting; its death is told as any other, and it is replaced."""
        self._begin(self._kill(self.handle))

    def refuse(self) -> None:
        """Count a message whose content could not be used."""
        if self._connection is not None:
            self._connection.refused += 1

    async def aclose(self) -> None:
        """End the kernel for good; idempotent. Its death is told to nobody."""
        self._closed = True
        if self._connection is not None:
            self._connection.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._kill(self.handle)

    # What the connection tells.

    def kernel_ready(self) -> None:
        """Works: deaths before do not count any more."""
        self._deaths = ()
        self._hearer.kernel_ready()

    def kernel_said(self, message: Received) -> None:
        """Pass on."""
        self._hearer.kernel_said(message)

    def kernel_replied(self, message: Received) -> None:
        """Pass on."""
        self._hearer.kernel_replied(message)

    def kernel_lost(self, reason: str) -> None:
        """Normally a death whose news is on its way; else end what cannot be talked to."""
        self._loop.call_later(_EXIT_SECONDS, self._end_unreachable, self.handle, reason)

    @property
    def _hearer(self) -> KeeperListener:
        if self._listener is None:
            raise RuntimeError("the keeper was not started")
        return self._listener

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%r: %s", self, error, exc_info=error)

    def _attach(self) -> None:
        handle = self.handle
        self._broke = None
        connection = KernelConnection(
            handle.connection_info,
            self,
            session_id=self._new_id(),
            max_message_bytes=self._max_message_bytes,
        )
        self._connection = connection
        handle.exited.add_done_callback(lambda exited: self._exited(handle, exited))
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            self._end_unreachable(handle, str(error))

    def _end_unreachable(self, handle: KernelHandle, reason: str) -> None:
        if self._closed or handle is not self.handle or handle.exited.done():
            return
        self._broke = f"The kernel could not be reached any more ({reason}) and was ended; its variables are lost."
        self._begin(self._kill(handle))

    async def _kill(self, handle: KernelHandle) -> None:
        try:
            async with asyncio.timeout(_KILL_SECONDS):
                await handle.kill()
        except (TimeoutError, PodflareError) as error:
            log.exception("%r: the kernel could not be ended", self)
            self._give_up("crashed", f"The kernel did not end when it was killed: {error}")

    def _exited(self, handle: KernelHandle, exited: asyncio.Future[KernelExit]) -> None:
        if self._closed or handle is not self.handle or exited.cancelled():
            return
        ending = exited.result() if self._broke is None else KernelExit("crashed", self._broke)
        connection, self._connection = self._connection, None
        worked = False
        if connection is not None:
            connection.drain()
            worked = connection.ready
            connection.close()
        self.last_exit = ending
        if not worked:
            self._deaths = deaths.while_starting(self._deaths, self._loop.time())
        self._hearer.kernel_died(ending)
        if deaths.hopeless(self._deaths):
            self._give_up(
                deaths.end_reason(ending.cause),
                f"The kernel died {len(self._deaths)} times in a row while it started. {ending.message}",
            )
        elif not self._closed:
            self._begin(self._replace(handle))

    async def _replace(self, dead: KernelHandle) -> None:
        try:
            handle = await self._source.replace(dead)
        except PodflareError as error:
            self._give_up("crashed", f"The kernel died and could not be replaced: {error.message}")
            return
        self.handle = handle
        self._attach()

    def _give_up(self, reason: EndReason, message: str) -> None:
        if not self._closed:
            self._hearer.kernel_hopeless(reason, message)
