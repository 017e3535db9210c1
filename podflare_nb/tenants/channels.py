"""A websocket on a kernel, with two things that Jupyter's own leaves open where kernels are strangers'.

What a client does not read is bounded: a websocket that is further behind is closed, and may come again. And a
client that asks a sandbox's kernel to shut down, by a message, is not heard: that is a sandbox's end, which nobody
means who closes a tab.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from jupyter_server.services.kernels.connection.base import deserialize_binary_message, deserialize_msg_from_ws_v1
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from tornado.websocket import WebSocketClosedError

from .sandbox_kernel import SandboxKernel

MOST_UNSENT_BYTES = 64 << 20
TRY_AGAIN_LATER = 1013
"""The websocket protocol's code."""
V1 = "v1.kernel.websocket.jupyter.org"


class SharedChannels(ZMQChannelsWebsocketConnection):
    """Jupyter's seam between a websocket and a kernel's sockets."""

    _unsent = 0

    @property
    def write_message(self) -> Callable[..., None]:
        """What all of the base class's writes go through."""
        return self._write

    def handle_incoming_message(self, incoming_msg: Any) -> None:
        """Pass a client's message to the kernel; called by the websocket's handler."""
        shared = isinstance(self.kernel_manager, SandboxKernel)
        if shared and kind_of(incoming_msg, self.subprotocol) == "shutdown_request":
            self.log.warning("A client of %s asked it to shut down; it is a sandbox's and stays.", self.kernel_id)
            return
        super().handle_incoming_message(incoming_msg)

    def handle_outgoing_message(self, stream: Any, outgoing_msg: list[Any]) -> None:
        """Pass a kernel's message to the client; called by its sockets.

        One that cannot be read or is not signed with the key is dropped: a stranger's, or said by a kernel that
        has just been merged into another sandbox and signs with that one's key.
        """
        try:
            super().handle_outgoing_message(stream, outgoing_msg)
        except (ValueError, LookupError, TypeError):
            self.log.debug("A message of the kernel %s could not be used.", self.kernel_id, exc_info=True)

    def on_restart_failed(self) -> None:
        """Say that the kernel is gone for good, and leave: there is nothing to connect to."""
        super().on_restart_failed()  # type: ignore[no-untyped-call] # Jupyter's
        if isinstance(self.kernel_manager, SandboxKernel):
            self.websocket_handler.close()

    def _write(self, message: str | bytes, binary: bool = False) -> None:  # noqa: FBT001, FBT002 - Tornado's signature
        if self._unsent > MOST_UNSENT_BYTES:
            self.websocket_handler.close(TRY_AGAIN_LATER, "You read more slowly than the kernel writes.")
            return
        try:
            written = asyncio.ensure_future(self.websocket_handler.write_message(message, binary))
        except WebSocketClosedError:
            return  # its closing is on its way
        size = len(message)
        self._unsent += size
        written.add_done_callback(lambda done: self._written(done, size))

    def _written(self, done: asyncio.Future[None], size: int) -> None:
        self._unsent -= size
        if not done.cancelled() and isinstance(done.exception(), Exception):
            self.log.debug("A message did not reach its websocket, which is closed.")


def kind_of(message: Any, subprotocol: str | None) -> str | None:
    """Read the type of a client's message; None if it cannot be read."""
    try:
        if subprotocol == V1:
            header = json.loads(deserialize_msg_from_ws_v1(message)[1][0])  # type: ignore[no-untyped-call] # Jupyter's
        elif isinstance(message, bytes):
            header = deserialize_binary_message(message)["header"]  # type: ignore[no-untyped-call] # Jupyter's
        else:
            header = json.loads(message)["header"]
        return str(header["msg_type"])
    except (ValueError, LookupError, TypeError):
        return None
