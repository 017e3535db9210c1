"""One kernel's sockets as the service uses them: sends executions, hands on what comes back.

Two connections: shell (requests, replies) and iopub (everything that a kernel says). No control channel: a kernel
is interrupted and ended by signals through its handle; no stdin: nobody is there to type. iopub is always read at
full speed; what is malformed, forged or over the bound is counted in ``refused`` and goes no further.

It opens when the kernel has confirmed the subscription (ipykernel's ``iopub_welcome``), or, for kernels without
it, when anything at all comes over iopub in answer to a ``kernel_info_request``: nothing said before is lost,
because nothing is asked before. Nor before the shell connection's handshake is over, which may take longer: libzmq
ends a connection on which something comes earlier. Below: ``zmtp``, ``messages``. Above: ``kernel_keeper``.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from .messages import Codec, MalformedError, Received
from .zmtp import SUBSCRIBE_ALL, Message, ZmtpSocket

log = logging.getLogger(__name__)

PROBE_SECONDS = 0.1
"""After this long without a welcome the kernel is asked for its info; and again after each such while."""
_SOCKETS = 2


class KernelListener(Protocol):
    """Who hears a connection. All are called on the event loop and must not block."""

    def kernel_ready(self) -> None:
        """Executions may be sent; called once."""

    def kernel_said(self, message: Received) -> None:
        """A message on iopub."""

    def kernel_replied(self, message: Received) -> None:
        """A reply on shell."""


class KernelConnection:
    """A connection to one kernel process; not reused for the next. Made inside the event loop.

    ``lost`` is told, at most once, why the kernel ended the connection; nothing is told after it.
    """

    def __init__(
        self,
        connection_info: Mapping[str, Any],
        listener: KernelListener,
        *,
        lost: Callable[[str], object],
        session_id: str,
        max_message_bytes: int,
    ) -> None:
        self.ready = False
        self.refused = 0
        self.failed = 0
        """Messages on which whoever heard them failed."""
        self._info = connection_info
        self._listener, self._on_lost = listener, lost
        self._codec = Codec(str(connection_info["key"]), session_id)
        self._loop = asyncio.get_running_loop()
        self._probe: asyncio.TimerHandle | None = None
        self._closed = False
        self._shell = ZmtpSocket(
            b"DEALER",
            max_message_bytes=max_message_bytes,
            on_open=self._opened,
            on_messages=lambda batch: self._received(batch, self._listener.kernel_replied),
            on_lost=self._lost,
        )
        self._iopub = ZmtpSocket(
            b"SUB",
            max_message_bytes=max_message_bytes,
            on_open=self._subscribe,
            on_messages=lambda batch: self._received(batch, self._heard),
            on_lost=self._lost,
        )
        self._open = 0
        self._welcomed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else "ready" if self.ready else "connecting"
        return f"<KernelConnection {self._info['ip']} {state} refused={self.refused}>"

    @property
    def heard_bytes(self) -> int:
        """How much has come on iopub."""
        return self._iopub.received

    def connect(self) -> None:
        """Connect both sockets; ``kernel_ready`` follows. Raises OSError when a socket is not there."""
        self._iopub.connect(self._path("iopub_port"))
        self._shell.connect(self._path("shell_port"))

    def execute(self, code: str) -> str:
        """Send an execution and return its message id. Never asks for stdin, never aborts what is queued."""
        msg_id, frames = self._codec.request(
            "execute_request",
            {
                "code": code,
                "silent": False,
                "store_history": True,
                "user_expressions": {},
                "allow_stdin": False,
                "stop_on_error": False,
            },
        )
        self._shell.send(frames)
        return msg_id

    def drain(self) -> None:
        """Hand on what a dead kernel had still said."""
        self._iopub.drain()
        self._shell.drain()

    def close(self) -> None:
        """Close; nothing is called afterwards; idempotent."""
        self._closed = True
        if self._probe is not None:
            self._probe.cancel()
            self._probe = None
        self._shell.close()
        self._iopub.close()

    def _path(self, port: str) -> str:
        return f"{self._info['ip']}-{self._info[port]}"

    def _subscribe(self) -> None:
        self._iopub.send_bytes(SUBSCRIBE_ALL)
        self._opened()

    def _opened(self) -> None:
        self._open += 1
        if self._open == _SOCKETS and not self._now_ready():
            self._probe = self._loop.call_later(PROBE_SECONDS, self._ask)

    def _now_ready(self) -> bool:
        """Say so, once, when it is."""
        if self._welcomed and self._open == _SOCKETS and not self.ready:
            self.ready = True
            if self._probe is not None:
                self._probe.cancel()
                self._probe = None
            self._listener.kernel_ready()
        return self.ready

    def _ask(self) -> None:
        self._shell.send(self._codec.request("kernel_info_request", {})[1])
        self._probe = self._loop.call_later(PROBE_SECONDS, self._ask)

    def _received(self, batch: list[Message], hand_on: Callable[[Received], None]) -> None:
        for frames, dropped in batch:
            if self._closed:
                return
            try:
                message = self._codec.open(frames, dropped)
                hand_on(message)
            except MalformedError:
                self.refused += 1
            except Exception:
                # A fault of ours with one message: those that came with it, the idle among them, are not to be lost.
                self.failed += 1
                log.exception("%r: a message could not be handled", self)

    def _heard(self, message: Received) -> None:
        self._welcomed = True
        self._now_ready()
        if message.kind != "iopub_welcome":
            self._listener.kernel_said(message)

    def _lost(self, reason: str) -> None:
        if not self._closed:
            self.close()
            self._on_lost(reason)
