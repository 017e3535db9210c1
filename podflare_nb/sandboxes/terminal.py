"""One terminal of a sandbox: what it says is kept for whoever reads, what is typed waits until its program takes it.

It lives whether or not anybody reads. Bounded: what is kept (``terminal_ring``), how fast it is read
(``terminal_pump``), what waits to be taken (1 MiB). Below: the handle, whose master it owns. Above: ``terminals``.
"""

import asyncio
import os

from ..errors import ConflictError
from ..provisioning import pseudo_terminal
from ..provisioning.handle import TerminalExit, TerminalHandle
from .terminal_pump import TerminalPump
from .terminal_ring import Allowance, TerminalRing

BURST_BYTES = 64 << 10
READ_BYTES = 16 << 10
PENDING_BYTES = 1 << 20
ROOM_SECONDS = 10.0
LOOK_AGAIN_SECONDS = 0.25
"""Linux does not always tell that there is room for input again."""
MOST_TYPING = 8
"""Calls that wait for room at once."""
REOPENED_SECONDS = 0.5
"""A program may close its terminal, and open it again."""
LAST_BYTES = 256 << 10
"""Read after the command's end: what it left running may go on speaking."""
KILLED = 137
UNKNOWN = -1
DEAF = (
    "The terminal's program does not read its input: {pending} bytes wait, and at most {most} may. "
    "Nothing of this was taken; try again later, or end what runs in it."
)


class Terminal:
    """A live or ended terminal. ``exit_code``: None while it lives, and until all that it said is here."""

    def __init__(
        self, handle: TerminalHandle, label: str, created_at_ms: int, pump: TerminalPump, allowance: Allowance
    ) -> None:
        self.pty_id, self.label, self.created_at_ms = handle.terminal_id, label, created_at_ms
        self.ring = TerminalRing(allowance)
        self.exit_code: int | None = None
        self.error: str | None = None
        """Why the service ended it, if it did."""
        self.streams = 0
        """Readers that follow it now."""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._handle, self._pump = handle, pump
        self._master = handle.master
        self._news = asyncio.Event()
        self._pending = bytearray()
        self._typing = asyncio.Lock()
        self._waiting = 0
        self._retry: asyncio.TimerHandle | None = None
        self._listen()
        handle.exited.add_done_callback(lambda exited: self._command_ended(exited.result()))

    def __repr__(self) -> str:
        return f"<Terminal {self.pty_id} {'alive' if self.exit_code is None else self.exit_code} {self.ring!r}>"

    def news(self) -> asyncio.Event:
        """It is set when there is more to read, or the end. Ask for it before you look."""
        return self._news

    async def write(self, data: bytes) -> None:
        """Type; what its program does not take at once waits here, in order. Raises ConflictError."""
        self.check_alive()
        if self._waiting >= MOST_TYPING:
            raise _deaf(len(self._pending))
        self._waiting += 1
        try:
            async with asyncio.timeout(ROOM_SECONDS), self._typing:
                while self._pending and len(self._pending) + len(data) > PENDING_BYTES:
                    await self._news.wait()
        except TimeoutError:
            raise _deaf(len(self._pending)) from None
        finally:
            self._waiting -= 1
        self.check_alive()
        self._pending += data
        self._type()

    def resize(self, columns: int, rows: int) -> None:
        """Give it another size; its programs get SIGWINCH. Raises ConflictError."""
        self.check_alive()
        pseudo_terminal.resize(self._master, columns, rows)

    async def kill(self) -> None:
        """End its command and all of its session. Idempotent; returns when all that it said is here."""
        await self._handle.kill()
        await asyncio.shield(self.ended)

    def end(self, message: str) -> None:
        """Let go of it now, whatever it still says, and tell why; its command is still to be killed. Idempotent."""
        if self.exit_code is None:
            self.error = message
            self._end(KILLED)

    def check_alive(self) -> None:
        """Raises ConflictError if it has ended."""
        if self.exit_code is not None or self._master < 0:
            raise ConflictError(f"The terminal has ended (exit code {self.exit_code}). Create another one.")

    def _listen(self) -> None:
        if self._master >= 0:
            self._pump.watch(self._master, self._take)

    def _take(self) -> bool:
        """Read a burst; True if there may be more."""
        taken = 0
        try:
            while taken < BURST_BYTES:
                data = os.read(self._master, READ_BYTES)
                if not data:
                    break
                taken += len(data)
                self.ring.append(data)
            else:
                self._tell()
                return True
        except BlockingIOError:
            pass  # for now that is all
        except OSError:  # nobody has the other end open now
            self._pump.forget(self._master)
            asyncio.get_running_loop().call_later(REOPENED_SECONDS, self._listen)
        if taken:
            self._tell()
        return False

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _type(self) -> None:
        loop = asyncio.get_running_loop()
        self._stop_typing()
        if self._master < 0:
            return
        try:
            while self._pending:
                count = os.write(self._master, self._pending[:READ_BYTES])
                del self._pending[:count]
        except OSError as error:
            if isinstance(error, BlockingIOError):
                loop.add_writer(self._master, self._type)
            self._retry = loop.call_later(LOOK_AGAIN_SECONDS, self._type)
        self._tell()

    def _stop_typing(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
            asyncio.get_running_loop().remove_writer(self._master)

    def _command_ended(self, end: TerminalExit) -> None:
        if self.exit_code is not None:
            return
        self.error = end.message
        before = self.ring.total
        while self.ring.total - before < LAST_BYTES and self._take():
            pass
        self._end(UNKNOWN if end.exit_code is None else end.exit_code)

    def _end(self, exit_code: int) -> None:
        self.exit_code = exit_code
        self._stop_typing()
        self._pump.forget(self._master)
        os.close(self._master)
        self._master = -1
        self._pending.clear()
        self.ended.set_result(None)
        self._tell()


def _deaf(pending: int) -> ConflictError:
    return ConflictError(DEAF.format(pending=pending, most=PENDING_BYTES))
