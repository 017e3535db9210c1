"""Keeps a sandbox supplied with a living kernel: connects it, hears of its death, puts a new one on its files.

What the kernel says goes straight from the connection to the executor. Death is told by the handle's ``exited``; a
kernel that ends its connections but lives on (user code that closes every descriptor) is ended. Three deaths within
a minute, each before the kernel began to work, end the keeping: ``kernel_hopeless``. Below: ``kernel_connection``,
the handle and the source of kernels. Above: ``executor`` as the listener, ``sandbox`` as the owner, ``branches``,
which lets one sandbox's kernel pass to another.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from ..errors import PodflareError
from ..protocol.states import EndReason
from ..provisioning.handle import KernelHandle, KernelSource
from ..provisioning.kernel_exit import KernelExit
from ..provisioning.tenure import Tenure
from . import deaths
from .background import BackgroundWork
from .kernel_connection import KernelConnection, KernelListener

log = logging.getLogger(__name__)

_EXIT_SECONDS = 1.0
"""How long a kernel that ended its connections may take to end itself."""
_KILL_SECONDS = 10.0
READY_SECONDS = 60.0
"""How long a kernel may take to answer on its sockets; then it is ended, and the next one tried."""


class KeeperListener(KernelListener, Protocol):
    """Who hears of the kernel, whichever it is. All are called on the event loop."""

    def kernel_died(self, ending: KernelExit) -> None:
        """The kernel ended; another one is on its way."""


class KernelKeeper:
    """The kernel of one sandbox and its successors. ``hopeless`` is told when there will be no other."""

    def __init__(
        self,
        source: KernelSource,
        handle: KernelHandle,
        hopeless: Callable[[EndReason, str], object],
        *,
        new_id: Callable[[], str],
        max_message_bytes: int,
    ) -> None:
        self.tenure = Tenure(handle)
        self.last_exit: KernelExit | None = None
        """How the last kernel ended that has been replaced; None: the first one lives."""
        self._source, self._hopeless, self._new_id = source, hopeless, new_id
        self._max_message_bytes = max_message_bytes
        self._loop = asyncio.get_running_loop()
        self._connection: KernelConnection | None = None
        self._listener: KeeperListener | None = None
        self._deaths: tuple[float, ...] = ()
        self._broke: str | None = None
        self._passing = self._given_away = False
        self._closed = False
        self._work = BackgroundWork(f"kernel of {handle.kernel_id}")

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<KernelKeeper {self.handle.kernel_id} {state} {self._connection!r}>"

    @property
    def handle(self) -> KernelHandle:
        """The kernel that it has now."""
        return self.tenure.handle

    @property
    def ready(self) -> bool:
        """Whether a kernel takes executions now."""
        return self._connection is not None and self._connection.ready

    @property
    def heard_bytes(self) -> int:
        """How much this kernel has said on iopub: it grows while anything is on its way."""
        return 0 if self._connection is None else self._connection.heard_bytes

    def start(self, listener: KeeperListener) -> None:
        """Connect the kernel; ``listener`` hears of everything from now on.

        Right after what is under way now: whoever made the sandbox is answered before, and code waits for the kernel.
        """
        self._listener = listener
        self._loop.call_soon(self._attach, listener)

    def execute(self, code: str) -> str:
        """Send an execution to the kernel, which is ``ready``; returns its message id."""
        if self._connection is None:
            raise RuntimeError("an execution was sent to a kernel that is not there")
        return self._connection.execute(code)

    @contextmanager
    def passing(self) -> Iterator[None]:
        """While a kernel passes from one sandbox to another: for neither is it a death that its handle ends."""
        handle, self._passing = self.handle, True
        try:
            yield
        finally:
            self._passing = False
            if self._listener is not None and handle.exited.done():
                self._exited(handle, handle.exited, self._listener)

    async def succeed(self, successor: KernelHandle) -> None:
        """Put another kernel of the family in this one's place, which ends; clients of this one find that one.

        Raises what the source raises; then this kernel goes on.
        """
        with self.passing():
            handle = await self._source.succeed(self.handle, successor)
            self._detach()
            self._appoint(handle)
            if self._closed:  # meanwhile; whoever closed it ended the kernel before
                await handle.kill()
            elif self._listener is not None:
                self._attach(self._listener)

    def give_away(self) -> None:
        """The kernel is another sandbox's now: let go of it, and do not end it. Idempotent."""
        self._given_away = self._closed = True
        self.tenure.pass_to(None)
        self._detach()

    def begin_kill(self) -> None:
        """End the kernel without waiting; its death is told as any other, and it is replaced."""
        self._work.begin(self._end_process(self.handle))

    async def aclose(self) -> None:
        """End the kernel for good; idempotent. Its death is told to nobody."""
        self._closed = True
        self.tenure.pass_to(None)
        if self._connection is not None:
            self._connection.close()
        await self._work.settle(cancel=True)
        if self._given_away:
            return
        try:
            async with asyncio.timeout(_KILL_SECONDS):
                await self.handle.kill()
        except (TimeoutError, PodflareError):
            log.exception("%r: the sandbox could not be ended", self)

    def _attach(self, listener: KeeperListener) -> None:
        if self._closed or self._connection is not None:
            return
        handle = self.handle
        self._broke = None
        self._connection = connection = KernelConnection(
            handle.connection_info,
            listener,
            # Normally a death whose news is on its way.
            lost=lambda reason: self._loop.call_later(_EXIT_SECONDS, self._end_unreachable, handle, reason),
            session_id=self._new_id(),
            max_message_bytes=self._max_message_bytes,
        )
        handle.exited.add_done_callback(lambda exited: self._exited(handle, exited, listener))
        self._loop.call_later(READY_SECONDS, self._end_unready, handle, connection)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            self._end_unreachable(handle, str(error))

    def _end_unready(self, handle: KernelHandle, connection: KernelConnection) -> None:
        if connection is self._connection and not connection.ready:
            self._end_unreachable(handle, f"it did not answer within {READY_SECONDS:g} seconds")

    def _end_unreachable(self, handle: KernelHandle, reason: str) -> None:
        if self._closed or handle is not self.handle or handle.exited.done():
            return
        self._broke = f"The kernel could not be reached any more ({reason}) and was ended; its variables are lost."
        self._work.begin(self._end_process(handle))

    async def _end_process(self, handle: KernelHandle) -> None:
        """End the kernel but not its sandbox: the files are for the next one."""
        try:
            async with asyncio.timeout(_KILL_SECONDS):
                await handle.send_signal(signal.SIGKILL)
                await asyncio.shield(handle.exited)
        except (TimeoutError, PodflareError) as error:
            log.exception("%r: the kernel could not be ended", self)
            self._give_up("crashed", f"The kernel did not end when it was killed. {error}")

    def _exited(self, handle: KernelHandle, exited: asyncio.Future[KernelExit], listener: KeeperListener) -> None:
        if self._closed or self._passing or handle is not self.handle or exited.cancelled():
            return
        ending = exited.result() if self._broke is None else KernelExit("crashed", self._broke)
        worked = self._detach()
        self.last_exit = ending
        self._deaths = () if worked else deaths.while_starting(self._deaths, self._loop.time())
        listener.kernel_died(ending)
        if deaths.hopeless(self._deaths):
            self._give_up(
                deaths.end_reason(ending.cause),
                f"The kernel died {len(self._deaths)} times in a row while it started. {ending.message}",
            )
        else:
            self._work.begin(self._replace(handle, listener))

    def _detach(self) -> bool:
        """Let go of a dead kernel, when all it said is heard; tells whether it had begun to work."""
        connection, self._connection = self._connection, None
        if connection is None:
            return False
        connection.drain()
        connection.close()
        return connection.ready

    async def _replace(self, dead: KernelHandle, listener: KeeperListener) -> None:
        try:
            handle = await self._source.replace(dead)
        except PodflareError as error:
            self._give_up("crashed", f"The kernel died and could not be replaced: {error.message}")
            return
        self._appoint(handle)
        self._attach(listener)

    def _appoint(self, handle: KernelHandle) -> None:
        ended, self.tenure = self.tenure, Tenure(handle)
        ended.pass_to(self.tenure)

    def _give_up(self, reason: EndReason, message: str) -> None:
        if not self._closed:
            self._hopeless(reason, message)
