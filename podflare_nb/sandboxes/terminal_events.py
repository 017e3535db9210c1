"""What one reader of a terminal is told: its events as lines of JSON, and single reads. The wire's are in ``protocol``.

A reader that is slower than the terminal misses what the ring has dropped meanwhile, and is told how much that was.
"""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import ConflictError, InvalidArgumentError
from .terminal import Terminal

PIECE_BYTES = 64 << 10
MAX_STREAMS = 16
SILENCE_SECONDS = 10.0
"""After which a stream says that it is alive: clients and proxies give up on silent ones after 30 or so."""
DROPPED = "{dropped} bytes of output are missing here: the terminal keeps its last 1 MiB, and 64 KiB once it has ended."


@dataclass(frozen=True, slots=True)
class Piece:
    """What one read got. ``seq``: where the next one goes on; ``exit_code``: when there is no more."""

    data: bytes
    seq: int
    dropped: int
    exit_code: int | None


@contextmanager
def following(terminal: Terminal, since: int) -> Iterator[AsyncIterator[bytes]]:
    """Follow a terminal from ``since`` to its end, as NDJSON. Raises ConflictError, InvalidArgumentError at once."""
    _check_seq(terminal, since)
    if terminal.streams >= MAX_STREAMS:
        raise ConflictError(f"At most {MAX_STREAMS} streams follow one terminal. Close one of them first.")
    terminal.streams += 1
    try:
        yield _lines(terminal, since)
    finally:
        terminal.streams -= 1


async def read(terminal: Terminal, since: int, most: int, seconds: float) -> Piece:
    """Read what came after ``since``; wait so long for the first of it. Raises InvalidArgumentError."""
    _check_seq(terminal, since)
    try:
        async with asyncio.timeout(seconds):
            while terminal.ring.total == since and terminal.exit_code is None:
                await terminal.news().wait()
    except TimeoutError:
        pass  # nothing was said: an empty piece tells that
    return _piece(terminal, since, most)


def ready(terminal: Terminal) -> bytes:
    """The first event of the stream that made it."""
    return _line("pty_ready", 0, session_id=terminal.pty_id, data=terminal.pty_id)


def failure(message: str, exit_code: int, seq: int = 0) -> bytes:
    """What went wrong, and the end."""
    return _line("pty_error", seq, message=message, data=message) + _line("pty_exit", seq, data=exit_code)


async def _lines(terminal: Terminal, since: int) -> AsyncIterator[bytes]:
    seq = since
    while True:
        news = terminal.news()
        piece = _piece(terminal, seq, PIECE_BYTES)
        seq = piece.seq
        if piece.dropped:
            message = DROPPED.format(dropped=piece.dropped)
            data = {"code": "output_dropped", "message": message, "dropped_bytes": piece.dropped}
            yield _line("notice", seq - len(piece.data), data=data)
        if piece.data:
            yield _line("pty_data", seq, data_b64=base64.b64encode(piece.data).decode())
        elif piece.exit_code is None:
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    await news.wait()
            except TimeoutError:
                yield _line("keepalive", seq, data=None)
        if piece.exit_code is not None:
            break
    if terminal.error is not None:
        yield failure(terminal.error, piece.exit_code, seq)
    else:
        yield _line("pty_exit", seq, data=piece.exit_code)


def _piece(terminal: Terminal, since: int, most: int) -> Piece:
    data, dropped = terminal.ring.since(since, most)
    seq = since + dropped + len(data)
    return Piece(data, seq, dropped, terminal.exit_code if seq == terminal.ring.total else None)


def _check_seq(terminal: Terminal, since: int) -> None:
    if since > terminal.ring.total:
        raise InvalidArgumentError(
            f"since_seq is {since}; the terminal has said {terminal.ring.total} bytes. Give the seq of an event of it."
        )


def _line(kind: str, seq: int, **more: Any) -> bytes:
    event = {"type": kind, **more, "seq": seq, "ts": time.time_ns() // 1_000_000}
    return json.dumps(event).encode() + b"\n"
