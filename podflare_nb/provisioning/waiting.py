"""Waiting on file descriptors with asyncio: pidfds, pipes and datagram sockets become awaitables."""

from __future__ import annotations

import asyncio
import os
import socket

from . import datagrams
from .jail import syscalls

EXIT_LOOKS = 200
EXIT_LOOK_SECONDS = 0.005
"""How often, and how far apart, the end of somebody else's child is asked for before it counts as unknown."""


def _resolve(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


async def readable(fd: int) -> None:
    """Return when ``fd`` is readable (a pidfd: when its process has ended)."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    loop.add_reader(fd, _resolve, done)
    try:
        await done
    finally:
        loop.remove_reader(fd)


async def writable(fd: int) -> None:
    """Return when ``fd`` can be written to."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    loop.add_writer(fd, _resolve, done)
    try:
        await done
    finally:
        loop.remove_writer(fd)


async def receive(sock: socket.socket) -> datagrams.Datagram:
    """The next datagram of a non-blocking socket. Raises as ``datagrams.receive``."""
    while True:
        try:
            return datagrams.receive(sock)
        except BlockingIOError:
            await readable(sock.fileno())


async def reap(pid: int, pidfd: int) -> int | None:
    """Wait for a child's end and return its wait status; None if somebody else had reaped it."""
    await readable(pidfd)
    try:
        return os.waitpid(pid, 0)[1]  # noqa: ASYNC222 - it has ended: this returns at once
    except ChildProcessError:
        return None


async def exit_status(pidfd: int) -> int | None:
    """Wait for the end of a process that is not our child; its wait status, None if Linux does not tell (before 6.15).

    That it has ended is told at once, how it ended some moments later, when its parent has reaped it.
    """
    await readable(pidfd)
    for _ in range(EXIT_LOOKS):
        status = syscalls.pidfd_wait_status(pidfd)
        if status is not None:
            return status
        await asyncio.sleep(EXIT_LOOK_SECONDS)
    return None
