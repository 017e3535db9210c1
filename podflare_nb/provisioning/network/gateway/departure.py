"""Whether a client is still there while nothing is sent to it, and nothing of it is awaited."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable

from ...waiting import readable


async def gone(sock: socket.socket, ended: Callable[[], None]) -> None:
    """Return when the other side has let go of the connection: reset it, or did not answer TCP's own questions.

    ``ended`` is called once, when its end (FIN) has come. That may be a half: it says no more, but reads on. Who has
    closed sends the same, and answers with a reset whatever is sent to it then; only that tells the one from the other.
    """
    # Not asyncio's own epoll: that one would wake for what is there to read, over and over.
    with select.epoll() as epoll:
        epoll.register(sock, select.EPOLLRDHUP)
        while True:
            await readable(epoll.fileno())
            for _, events in epoll.poll(0):
                if events & (select.EPOLLERR | select.EPOLLHUP):
                    return
                epoll.modify(sock, 0)  # errors are told all the same
                ended()
