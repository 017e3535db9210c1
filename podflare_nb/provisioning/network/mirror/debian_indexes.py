"""Which hash a Debian archive lists for a package: read from its indexes (``Packages``) as sandboxes fetch them by
hash.

So a ``.deb`` can be kept under its hash, as any file is. What is learnt here decides nothing but that: which index is
the archive's own of today only apt knows, which checks signatures. So a file that has another hash than is listed is
passed through, and where two indexes list different hashes for one path, nothing of it is given out from the cache:
nobody can make an old index count for others. Indexes of other architectures than this machine's are left alone.
"""

from __future__ import annotations

import asyncio
import bz2
import hashlib
import logging
import lzma
import platform
import re
import zlib
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from .settings import Site
from .store import Digest
from .upstream import UpstreamError

log = logging.getLogger(__name__)
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
"""As Debian names it."""
INDEX = re.compile(rf"dists/.+/binary-({re.escape(ARCHITECTURE)}|all)/by-hash/SHA256/[0-9a-f]{{64}}")
MAX_FILES = 500_000
"""Of all indexes together; 40 bytes each. Debian's own of one architecture has 65 000."""
MAX_TEXT_BYTES = 512 << 20
MAX_STANZA_BYTES = 1 << 20
PART_BYTES = 1 << 20
WAIT_SECONDS = 3.0
"""How long a package may wait for an index that is being read, most likely the one that lists it."""
_FILENAME = re.compile(rb"^Filename: (\S+)$", re.MULTILINE)
_SHA256 = re.compile(rb"^SHA256: ([0-9a-f]{64})$", re.MULTILINE)


class Index(Protocol):
    """The file of an index: ``downloads.File``."""

    def read(self, start: int, end: int | None) -> AsyncIterator[bytes]:
        """Its bytes. Raises UpstreamError."""

    def close(self) -> None:
        """It is no longer read."""


class DebianIndexes:
    """What is known of all archives. ``learn`` of an index that is fetched; ``digest`` of a file."""

    def __init__(self) -> None:
        self._listings: OrderedDict[tuple[str, str], Listing] = OrderedDict()
        self._learning: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._one = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<DebianIndexes {len(self._listings)}>"

    def learn(self, site: Site, path: str, fetch: Callable[[], Awaitable[Index]]) -> None:
        """If that is an index of this archive which is not known, read it beside everything else."""
        key = site.url, path
        if key in self._listings:
            self._listings.move_to_end(key)
        elif key not in self._learning and INDEX.fullmatch(path):
            self._learning[key] = asyncio.create_task(self._learn(key, fetch))

    async def _learn(self, key: tuple[str, str], fetch: Callable[[], Awaitable[Index]]) -> None:
        try:
            async with self._one:
                self._listings[key] = await _read(await fetch())
            while sum(map(len, self._listings.values())) > MAX_FILES:
                self._listings.popitem(last=False)
        except (UpstreamError, ValueError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
            log.info("An index at %s cannot be read: %s", key[0], error)
        finally:
            del self._learning[key]

    async def digest(self, site: Site, path: str) -> Digest | None:
        """The hash that is listed for a file of this archive; None if none is, or more than one."""
        under_way = [task for (url, _), task in self._learning.items() if url == site.url]
        if under_way:
            await asyncio.wait(under_way, timeout=WAIT_SECONDS)
        found = {listed for (url, _), each in self._listings.items() if url == site.url and (listed := each.get(path))}
        return Digest("sha256", found.pop().hex()) if len(found) == 1 else None


async def _read(index: Index) -> Listing:
    """Read it to its end, and close it."""
    reading = Reading()
    try:
        async for part in index.read(0, None):
            await asyncio.to_thread(reading.feed, part)
        return await asyncio.to_thread(reading.listing)
    finally:
        index.close()


class Listing:
    """Path -> SHA-256, small: of each path a hash of 64 bits, all of them sorted."""

    def __init__(self, files: dict[int, bytes]) -> None:
        self._paths = array("Q", sorted(files))
        self._digests = b"".join(files[path] for path in self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def get(self, path: str) -> bytes | None:
        """What is listed for it."""
        wanted = _short(path.encode())
        at = bisect_left(self._paths, wanted)
        if at == len(self._paths) or self._paths[at] != wanted:
            return None
        return self._digests[32 * at : 32 * at + 32]


class Reading:
    """An index on its way: ``feed`` it, then ask for the ``listing``. Both raise ValueError for what is none, or too
    large, and what decompression raises."""

    def __init__(self) -> None:
        self._text: Callable[[bytes], bytes] | None = None
        self._rest = b""
        self._bytes = 0
        self._files: dict[int, bytes] = {}

    def feed(self, part: bytes) -> None:
        """The next bytes, as they are in the archive."""
        if self._text is None:
            self._text = _decompression(part)
        text = self._text(part)
        while text:
            self._bytes += len(text)
            if self._bytes > MAX_TEXT_BYTES:
                raise ValueError("it is too large")
            *stanzas, self._rest = (self._rest + text).split(b"\n\n")
            for stanza in stanzas:
                self._take(stanza)
            if len(self._rest) > MAX_STANZA_BYTES:
                raise ValueError("it is no list of packages")
            text = self._text(b"")

    def _take(self, stanza: bytes) -> None:
        path, digest = _FILENAME.search(stanza), _SHA256.search(stanza)
        if path and digest:
            self._files[_short(path[1])] = bytes.fromhex(digest[1].decode())
            if len(self._files) > MAX_FILES:
                raise ValueError("it lists too many files")

    def listing(self) -> Listing:
        """All of it, at the end."""
        self._take(self._rest)
        return Listing(self._files)


def _short(path: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(path, digest_size=8).digest(), "big")


def _decompression(head: bytes) -> Callable[[bytes], bytes]:
    """Give bytes in, get at most ``PART_BYTES`` out; with no more in, what is left to come. By the first bytes."""
    if head.startswith(b"\x1f\x8b"):
        gzip = zlib.decompressobj(wbits=31)
        return lambda part: gzip.decompress(gzip.unconsumed_tail + part, PART_BYTES)
    if head.startswith((b"\xfd7zXZ\0", b"BZh")):
        other = lzma.LZMADecompressor(lzma.FORMAT_XZ) if head[:1] == b"\xfd" else bz2.BZ2Decompressor()

        def more(part: bytes) -> bytes:
            if other.eof or (not part and other.needs_input):
                return b""
            return other.decompress(part, PART_BYTES)

        return more
    if head.startswith(b"Package: "):
        return lambda part: part
    raise ValueError("it is compressed in a way that is not known")
