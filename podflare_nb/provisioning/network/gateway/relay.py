"""Bytes from one socket to another without a copy (splice(2)), until the end or for a number of them."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

from ...waiting import readable, writable
from .pipes import Pipe, Pipes

TURN_BYTES = 8 * 1024 * 1024
"""After so many the others have their turn, so that one fast connection does not hold up all."""
ABORT = struct.pack("ii", 1, 0)


async def move(
    source: socket.socket, sink: socket.socket, pipes: Pipes, moved: Callable[[int], None], count: int | None = None
) -> int:
    """Move until the source's end (or ``count`` bytes); how many that were. ``moved`` is told of each part.

    Raises OSError (of either socket). Cancelled, what was read and not yet written is lost.
    """
    total, turn = 0, 0
    while count is None or total < count:
        pipe = pipes.take()
        held = 0
        try:
            while count is None or total < count:
                try:
                    held = _fill(pipe, source, pipe.size if count is None else min(pipe.size, count - total))
                except BlockingIOError:
                    break
                if held == 0:
                    return total
                total, turn = total + held, turn + held
                moved(held)
                held = await _drain(pipe, sink, held)
                if turn >= TURN_BYTES:
                    turn = 0
                    await asyncio.sleep(0)
        except BaseException:
            held = 1
            raise
        finally:
            if held:
                pipe.close()
            else:
                pipes.give_back(pipe)
        if count is None or total < count:
            await readable(source.fileno())
    return total


def _fill(pipe: Pipe, source: socket.socket, size: int) -> int:
    return os.splice(source.fileno(), pipe.write, size, flags=os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK)


async def _drain(pipe: Pipe, sink: socket.socket, held: int) -> int:
    while held:
        try:
            held -= os.splice(pipe.read, sink.fileno(), held, flags=os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            await writable(sink.fileno())
    return held


def end_writing(sink: socket.socket) -> None:
    """Tell the other side that no more comes; it may be gone already."""
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def abort(sock: socket.socket) -> None:
    """Close so that the other side learns that something broke (RST), and does not take it for an end."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
    sock.close()
