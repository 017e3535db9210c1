"""A connection to a supervisor: requests and their answers, and what it tells unasked. ``client`` stands on it."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .. import errors
from . import datagrams
from .waiting import receive, writable

_OF_NETWORKS = b'{"event": "network"'
ENDED = "The supervisor has ended, and every kernel with it."
LOST = f"{ENDED} Another one is started; try again."


class LostError(errors.NoCapacityError):
    """The supervisor has ended; so have its kernels."""


class SupervisorLink:
    """``on_event`` is told of events, and closes their descriptors. ``lost`` resolves when the supervisor ends."""

    def __init__(self, sock: socket.socket, on_event: Callable[[datagrams.Datagram], None]) -> None:
        self._sock = sock
        self._on_event = on_event
        self._ids = itertools.count()
        self._answers: dict[int, asyncio.Future[datagrams.Datagram]] = {}
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read())

    def __repr__(self) -> str:
        return f"<SupervisorLink {'lost' if self.lost.done() else 'connected'}>"

    async def request(self, op: str, **arguments: Any) -> tuple[dict[str, Any], list[int]]:
        """One request and its answer. Raises what the supervisor answered, NoCapacityError if it is lost."""
        if self.lost.done():
            raise LostError(LOST)
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            await self._send({"id": number, "op": op, **arguments})
            datagram = await answer
        except asyncio.CancelledError:
            # What was asked for may still be made: it must not stay behind.
            self._answers[number] = asyncio.get_running_loop().create_future()
            self._answers[number].add_done_callback(self._discard)
            raise
        if (error := datagram.body.get("error")) is not None:
            raise _ERRORS.get(error["code"], errors.NoCapacityError)(error["message"], **error["details"])
        return datagram.body["ok"], datagram.fds

    def _discard(self, late: asyncio.Future[datagrams.Datagram]) -> None:
        if late.cancelled() or late.exception() is not None:
            return
        datagram = late.result()
        datagram.close_fds()
        made = datagram.body.get("ok") or {}
        for kernel in (made, *made.get("children", ())):
            if "kernel_id" in kernel:
                datagrams.send(self._sock, {"id": next(self._ids), "op": "kill", "kernel_id": kernel["kernel_id"]})
            elif "terminal_id" in kernel:
                body = {"op": "kill_terminal", "terminal_id": kernel["terminal_id"]}
                datagrams.send(self._sock, {"id": next(self._ids), **body})

    async def _send(self, body: dict[str, Any]) -> None:
        while True:
            try:
                return datagrams.send(self._sock, body)
            except BlockingIOError:
                await writable(self._sock.fileno())
            except (datagrams.PeerClosedError, OSError):
                raise LostError(LOST) from None

    async def _read(self) -> None:
        try:
            while True:
                self._dispatch(await receive(self._sock))
                # Whoever waited for this answer goes first: the next datagram may tell of the end of what it got.
                await asyncio.sleep(0)
        except (datagrams.PeerClosedError, ValueError, OSError):
            pass
        finally:
            self._lose()

    def hear_of_networks(self) -> None:
        """Dispatch what was told of networks and not read yet, up to the first of anything else, whose turn comes.

        Whoever ends a run asks: what the run was refused was told before its kernel could say that it has ended, but
        both may lie there when the loop comes to look.
        """
        with suppress(BlockingIOError, OSError):
            while self._sock.recv(len(_OF_NETWORKS), socket.MSG_PEEK | socket.MSG_DONTWAIT) == _OF_NETWORKS:
                self._on_event(datagrams.receive(self._sock))

    def _dispatch(self, datagram: datagrams.Datagram) -> None:
        if "event" in datagram.body:
            self._on_event(datagram)
            return
        answer = self._answers.pop(datagram.body["id"], None)
        if answer is None or answer.done():
            datagram.close_fds()
        else:
            answer.set_result(datagram)

    def _lose(self) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(LostError(LOST))

    async def close(self) -> None:
        """Close; what was taken over it ends. Idempotent."""
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        self._sock.close()


_ERRORS: dict[str, type[errors.PodflareError]] = {
    error.code: error for error in (errors.NotFoundError, errors.NoCapacityError, errors.ConflictError)
}
