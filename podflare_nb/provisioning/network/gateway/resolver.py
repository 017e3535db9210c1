"""Names by the host's own means: threads that stay in the host's network namespace ask there.

``getaddrinfo`` is what every program of the host asks (hosts file, resolv.conf, nsswitch). Names are absolute: the
environment of the process (``ENVIRONMENT``) takes the search list away, since a final dot would hide the hosts file.
A thread cannot be stopped: who waited too long goes away, and its place stays taken until the thread is done.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from ....protocol.egress import Address, address

ENVIRONMENT = {"LOCALDOMAIN": ".", "RES_OPTIONS": "timeout:2 attempts:2"}
THREADS = 64
ANSWER_SECONDS = 5.0
MAX_RUNNING = 16
MAX_WAITING = 64
"""Both of one sandbox."""

Why = Literal["no name", "no address", "failed"]
T = TypeVar("T")


class UnresolvedError(Exception):
    """There is no address: no such name, no address of this kind, or no answer."""

    def __init__(self, sentence: str, why: Why = "failed") -> None:
        super().__init__(sentence)
        self.why = why


@dataclass(eq=False)
class Asker:
    """One sandbox's share of the threads. ``running``: those that it has; ``waiting``: its lookups in all;
    ``under_way``: those of addresses, by name."""

    running: int = 0
    waiting: int = 0
    under_way: dict[str, asyncio.Task[list[Address]]] = field(default_factory=dict)


class ResolverThreads:
    """All threads are started by the constructor, and so stay in the network namespace of its caller's.

    A sandbox may have as many as are still free, and at most ``MAX_RUNNING``: lookups that nobody answers (a tenant can
    make those) never take all threads, however many sandboxes make them.
    """

    def __init__(self, threads: int = THREADS) -> None:
        self._threads = threads
        self._running = 0
        self._queue: deque[tuple[Asker, asyncio.Future[None]]] = deque()
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="resolver")
        started = threading.Barrier(threads + 1)
        for _ in range(threads):
            self._executor.submit(started.wait)
        started.wait()

    async def addresses(self, asker: Asker, name: str) -> list[Address]:
        """Addresses of a name, in the order of preference. Raises UnresolvedError.

        Who asks for a name while it is being looked up for the same sandbox gets that answer: a hundred connections to
        one host at once are one lookup. Nothing is kept.
        """
        lookup = asker.under_way.get(name)
        if lookup is None:
            lookup = asker.under_way[name] = asyncio.create_task(self.run(asker, name, lambda: _addresses(name)))
            lookup.add_done_callback(lambda _: asker.under_way.pop(name))
        return list(await asyncio.shield(lookup))

    async def run(self, asker: Asker, name: str, work: Callable[[], T]) -> T:
        """The result of ``work``, done in a thread. Raises what it raises, and UnresolvedError if it takes too long."""
        if asker.waiting >= MAX_WAITING:
            raise UnresolvedError(f"{name} was not looked up: too many lookups at once")
        asker.waiting += 1
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._turn(asker)
                return await self._start(asker, work)
        except TimeoutError as error:
            raise UnresolvedError(f"{name} was not resolved within {ANSWER_SECONDS:.0f} s") from error
        finally:
            asker.waiting -= 1

    async def _turn(self, asker: Asker) -> None:
        """Wait for a thread, and take it."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((asker, turn))
        self._give_turns()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release(asker)
            raise

    def _give_turns(self) -> None:
        """To those who may have one, first come first served; others stay."""
        for _ in range(len(self._queue)):
            asker, turn = self._queue.popleft()
            if turn.done():
                continue
            if asker.running < min(MAX_RUNNING, self._threads - self._running):
                asker.running += 1
                self._running += 1
                turn.set_result(None)
            else:
                self._queue.append((asker, turn))

    def _release(self, asker: Asker) -> None:
        asker.running -= 1
        self._running -= 1
        self._give_turns()

    def _start(self, asker: Asker, work: Callable[[], T]) -> asyncio.Future[T]:
        running = self._executor.submit(work)
        done = asyncio.wrap_future(running)
        loop = asyncio.get_running_loop()
        running.add_done_callback(lambda _: loop.call_soon_threadsafe(self._release, asker))
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
