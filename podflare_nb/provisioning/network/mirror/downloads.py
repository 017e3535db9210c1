"""Files: each is downloaded once for all who ask at the same time, checked while it comes, and kept if it is right.

Those who ask read what has been written so far. The last MiB is held back until the hash of the whole is known: of a
file with a wrong hash nobody ever gets more than a part that no client takes for the whole, and of one smaller than
that, nothing but an error.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

import httpcore

from .settings import Site
from .store import Digest, Partial, Store, StoreFullError
from .upstream import PASSING, Upstream, UpstreamError, check_status

HELD_BACK = 1 << 20
CHUNK = 256 << 10
MAX_FILE_BYTES = 16 << 30


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that an index lists. Without a digest, or with a weak one, it is not kept. ``certain``: that it is the
    file's digest, so that one with another must not be given out; else such a one is only not kept."""

    site: Site
    url: str
    name: str
    digest: Digest | None
    certain: bool = True


class File(Protocol):
    """What can be served; ``close`` it."""

    @property
    def size(self) -> int | None:
        """Bytes, once that is known."""

    async def whole(self) -> int:
        """Wait until all of it is there and right; its size. Raises UpstreamError."""

    async def begun(self) -> None:
        """Wait until some of it may be sent. Raises UpstreamError."""

    def read(self, start: int, end: int | None) -> AsyncIterator[bytes]:
        """Bytes from ``start`` to before ``end``, or all that come. Raises UpstreamError."""

    def close(self) -> None:
        """It is no longer read."""


class KeptFile:
    """A file of the store."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._size = os.fstat(fd).st_size

    @property
    def size(self) -> int | None:
        """See File."""
        return self._size

    async def whole(self) -> int:
        """See File."""
        return self._size

    async def begun(self) -> None:
        """See File."""

    async def read(self, start: int, end: int | None) -> AsyncIterator[bytes]:
        """See File."""
        last = self._size if end is None else end
        while start < last and (part := os.pread(self._fd, min(CHUNK, last - start), start)):
            start += len(part)
            yield part

    def close(self) -> None:
        """See File."""
        os.close(self._fd)


class Download:
    """A file that is on its way. It ends early when nobody reads it any more."""

    def __init__(self, artifact: Artifact, upstream: Upstream, store: Store, over: Callable[[Download], None]) -> None:
        self._artifact = artifact
        self._upstream = upstream
        self._partial = store.create()
        self._over = over
        self._written = 0
        self._announced: int | None = None
        self._failure: UpstreamError | None = None
        self._news = asyncio.Event()
        self._readers = 0
        self._ended = False
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(self._finished)

    def joined(self) -> Download:
        """One more reads it."""
        self._readers += 1
        return self

    @property
    def size(self) -> int | None:
        """See File."""
        return self._written if self._ended else self._announced

    async def whole(self) -> int:
        """See File."""
        while not self._ended:
            await self._news.wait()
        if self._failure is not None:
            raise self._failure
        return self._written

    async def begun(self) -> None:
        """See File."""
        while not self._ended and self._written <= HELD_BACK:
            await self._news.wait()
        if self._failure is not None:
            raise self._failure

    async def read(self, start: int, end: int | None) -> AsyncIterator[bytes]:
        """See File."""
        while end is None or start < end:
            last = self._written if self._ended else self._written - HELD_BACK
            if self._failure is not None:
                raise self._failure
            if start < last:
                stop = last if end is None else min(last, end)
                part = os.pread(self._partial.fd, min(CHUNK, stop - start), start)
                start += len(part)
                yield part
            elif self._ended:
                return
            else:
                await self._news.wait()

    def close(self) -> None:
        """See File."""
        self._readers -= 1
        if self._readers == 0:
            self._over(self)
            if self._ended:
                self._partial.drop()
            else:
                self._task.cancel()

    async def _run(self) -> None:
        try:
            await self._transfer(self._partial)
        except UpstreamError as error:
            self._failure = error
        except StoreFullError:
            self._failure = UpstreamError(f"{self._artifact.name} is larger than this service's cache of packages.")
        except OSError:
            self._failure = UpstreamError("This service's cache of packages cannot be written to.")

    def _finished(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._failure = UpstreamError(f"The download of {self._artifact.name} was given up.", PASSING)
        self._ended = True
        self._over(self)
        self._tell()
        if self._readers == 0:
            self._partial.drop()

    async def _transfer(self, partial: Partial) -> None:
        artifact = self._artifact
        digest = artifact.digest
        computed = None if digest is None else hashlib.new(digest.algorithm, usedforsecurity=False)
        asked = [(b"Accept", b"*/*"), (b"Accept-Encoding", b"identity")]
        async with self._upstream.stream(artifact.site, artifact.url, asked) as (response, _):
            check_status(response.status, artifact.site)
            self._announced = _content_length(response)
            async for part in response.aiter_stream():
                if computed is not None:
                    computed.update(part)
                partial.write(part)
                self._written += len(part)
                if self._written > MAX_FILE_BYTES:
                    raise UpstreamError(f"{artifact.name} is larger than {MAX_FILE_BYTES >> 30} GiB.")
                self._tell()
        if self._announced not in {None, self._written}:
            raise UpstreamError(
                f"The index at {artifact.site.host} broke off in the middle of {artifact.name}.", PASSING
            )
        if computed is not None and digest is not None:
            if computed.hexdigest() != digest.hex:
                if not artifact.certain:
                    return
                raise UpstreamError(
                    f"{artifact.name} came from {artifact.site.host} with another hash than its index lists; "
                    "it was thrown away."
                )
            if digest.strong:
                partial.keep(digest)

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


class Downloads:
    """Where files come from: the store, a download that is under way, or a new one."""

    def __init__(self, upstream: Upstream, store: Store) -> None:
        self._upstream = upstream
        self._store = store
        self._under_way: dict[Artifact, Download] = {}

    async def open(self, artifact: Artifact) -> File:
        """The file, to be closed by the caller. Raises UpstreamError when it cannot be written."""
        digest = artifact.digest
        if digest is not None and digest.strong and (kept := await self._kept(digest)) is not None:
            return kept
        if (known := self._under_way.get(artifact)) is not None:
            return known.joined()
        try:
            download = Download(artifact, self._upstream, self._store, lambda over: self._forget(artifact, over))
        except OSError as error:
            raise UpstreamError("This service's cache of packages cannot be written to.") from error
        self._under_way[artifact] = download
        return download.joined()

    async def _kept(self, digest: Digest) -> KeptFile | None:
        fd = self._store.open(digest)
        if fd is None:
            return None
        if not self._store.is_proven(digest) and not await asyncio.to_thread(self._store.prove, digest, fd):
            os.close(fd)
            return None
        return KeptFile(fd)

    def _forget(self, artifact: Artifact, over: Download) -> None:
        if self._under_way.get(artifact) is over:
            del self._under_way[artifact]


def _content_length(response: httpcore.Response) -> int | None:
    for name, value in response.headers:
        if name.lower() == b"content-length" and value.isdigit():
            return int(value)
    return None
