"""Bytes both ways between a browser and a program in a sandbox, once both have agreed on a websocket.

Frames are the business of the two: subprotocols, extensions, pings and close codes are theirs, unread. Overflow rule:
one piece is in flight in each direction. A side that takes nothing for ``STALL_SECONDS`` is cut off; one that says
nothing may do so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tornado.iostream import IOStream, StreamClosedError

from .port_upstream import PIECE_BYTES
from .streaming import STALL_SECONDS

GOODBYE_SECONDS = 1.0
"""For the program's last words, once the browser has gone."""


async def relay(
    browser: IOStream,
    first: bytes,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    was_used: Callable[[], None],
) -> None:
    """Until either side ends it. ``first``: what the program said already; ``was_used`` is told of each piece."""
    browser.set_nodelay(True)
    ways = [
        asyncio.ensure_future(_to_browser(browser, first, reader, was_used)),
        asyncio.ensure_future(_to_program(browser, writer, was_used)),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        await _say_the_rest(ways[0])
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        browser.close()


async def _say_the_rest(to_browser: asyncio.Future[None]) -> None:
    """A program that was told goodbye may answer it."""
    if not to_browser.done():
        await asyncio.wait({to_browser}, timeout=GOODBYE_SECONDS)


async def _to_browser(
    browser: IOStream, first: bytes, reader: asyncio.StreamReader, was_used: Callable[[], None]
) -> None:
    piece = first
    try:
        while piece or (piece := await reader.read(PIECE_BYTES)):
            was_used()
            async with asyncio.timeout(STALL_SECONDS):
                await browser.write(piece)
            piece = b""
    except (StreamClosedError, ConnectionError, TimeoutError):
        return


async def _to_program(browser: IOStream, writer: asyncio.StreamWriter, was_used: Callable[[], None]) -> None:
    try:
        while True:
            writer.write(await browser.read_bytes(PIECE_BYTES, partial=True))
            was_used()
            async with asyncio.timeout(STALL_SECONDS):
                await writer.drain()
    except (StreamClosedError, ConnectionError, TimeoutError):
        return
    finally:
        if writer.can_write_eof():
            writer.write_eof()
