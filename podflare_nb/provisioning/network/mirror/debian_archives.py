"""Debian archives, as apt asks a proxy for them: ``GET http://host/path``, only below the archives that are served.

What is named by its hash (``by-hash``) is kept as any file is, and so are packages whose hash an index lists
(``debian_indexes``). The rest is signed by the archive, by hash or by a list of hashes, and checked by apt: it is
passed through as it is now.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from ....protocol import egress
from .downloads import Artifact
from .settings import Site
from .store import Digest
from .upstream import NotInIndexError

SEGMENT = re.compile(r"[A-Za-z0-9._+~:%=,@^-]+")
BY_HASH = re.compile(r"by-hash/SHA(256|512)/([0-9a-f]+)$")


@dataclass(frozen=True, slots=True)
class ArchivePath:
    """Something in an archive. ``seen``: the archive's address as sandboxes know it."""

    seen: Site
    used: Site
    path: str

    @property
    def url(self) -> str:
        """Where it is upstream."""
        return self.used.url + self.path

    @property
    def artifact(self) -> Artifact | None:
        """The file, if its name tells its hash."""
        found = BY_HASH.search(self.path)
        if found is None:
            return None
        try:
            return Artifact(self.used, self.url, found[2], Digest(f"sha{found[1]}", found[2]))
        except ValueError:
            return None


class DebianArchives:
    """All archives."""

    def __init__(self, archives: Mapping[str, Site]) -> None:
        self._archives = [(Site(seen), used) for seen, used in archives.items()]

    def find(self, url: str) -> ArchivePath:
        """What a client means by this address. Raises NotInIndexError."""
        try:
            parts = urlsplit(url)
            wanted = ("http", str(egress.host(parts.hostname or "")), parts.port or 80)
        except ValueError:
            raise NotInIndexError("That address cannot be read.") from None
        plain = parts.scheme == "http" and not parts.query and not parts.fragment and parts.username is None
        for seen, used in self._archives:
            prefix = urlsplit(seen.url).path
            if plain and wanted == seen.origin and parts.path.startswith(prefix):
                return ArchivePath(seen, used, _safe(parts.path.removeprefix(prefix)))
        raise NotInIndexError("No archive that this service has for apt is at that address.")


def _safe(path: str) -> str:
    """The rest of a path if nobody could take it for one that leads elsewhere. Raises NotInIndexError."""
    segments = path.split("/")
    if path.endswith("/"):
        segments.pop()
    for segment in segments:
        if not SEGMENT.fullmatch(segment) or not SEGMENT.fullmatch(plain := unquote(segment)) or plain in {".", ".."}:
            raise NotInIndexError("That path cannot be in an archive.")
        if "%" in plain:
            raise NotInIndexError("That path cannot be in an archive.")
    return path
