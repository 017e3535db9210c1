"""Names by the host's own means: threads that stay in the host's network namespace ask there.

``getaddrinfo`` is what every program of the host asks (hosts file, resolv.conf, nsswitch). Names are absolute: the
environment of the process (``ENVIRONMENT``) takes the search list away, since a final dot would hide the hosts file.
A thread cannot be stopped: who waited too long goes away, and its place stays taken until the thread is done.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from ....protocol.egress import Address, address

ENVIRONMENT = {"LOCALDOMAIN": ".", "RES_OPTIONS": "timeout:2 attempts:2"}
THREADS = 32
ANSWER_SECONDS = 5.0
MAX_RUNNING = 8
MAX_WAITING = 64
"""Of one sandbox, so that its lookups leave threads to others."""

Why = Literal["no name", "no address", "failed"]
T = TypeVar("T")


class UnresolvedError(Exception):
    """There is no address: no such name, no address of this kind, or no answer."""

    def __init__(self, sentence: str, why: Why = "failed") -> None:
        super().__init__(sentence)
        self.why = why


@dataclass
class Asker:
    """One sandbox's share of the threads."""

    turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_RUNNING))
    waiting: int = 0


class ResolverThreads:
    """All threads are started by the constructor, and so stay in the network namespace of its caller's."""

    def __init__(self, threads: int = THREADS) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="resolver")
        started = threading.Barrier(threads + 1)
        for _ in range(threads):
            self._executor.submit(started.wait)
        started.wait()

    async def addresses(self, asker: Asker, name: str) -> list[Address]:
        """Addresses of a name, in the order of preference. Raises UnresolvedError."""
        return await self.run(asker, name, lambda: _addresses(name))

    async def run(self, asker: Asker, name: str, work: Callable[[], T]) -> T:
        """The result of ``work``, done in a thread. Raises what it raises, and UnresolvedError if it takes too long."""
        if asker.waiting >= MAX_WAITING:
            raise UnresolvedError(f"{name} was not looked up: too many lookups at once")
        asker.waiting += 1
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await asker.turn.acquire()
                return await self._start(asker, work)
        except TimeoutError as error:
            raise UnresolvedError(f"{name} was not resolved within {ANSWER_SECONDS:.0f} s") from error
        finally:
            asker.waiting -= 1

    def _start(self, asker: Asker, work: Callable[[], T]) -> asyncio.Future[T]:
        running = self._executor.submit(work)
        done = asyncio.wrap_future(running)
        loop = asyncio.get_running_loop()
        running.add_done_callback(lambda _: loop.call_soon_threadsafe(asker.turn.release))
        return done


def _addresses(name: str) -> list[Address]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno == socket.EAI_NONAME:
            raise UnresolvedError(f"{name} does not exist", "no name") from error
        why: Why = "no address" if error.errno in {socket.EAI_NODATA, socket.EAI_ADDRFAMILY} else "failed"
        raise UnresolvedError(f"{name} was not resolved: {error.strerror}", why) from error
    except (OSError, UnicodeError) as error:
        raise UnresolvedError(f"{name} was not resolved: {error}") from error
    return list(dict.fromkeys(_usable(str(entry[4][0])) for entry in found))


def _usable(text: str) -> Address:
    """An address as ``getaddrinfo`` gives it. A zone only says which link: what has one is not public anyway."""
    return address(text.partition("%")[0])
