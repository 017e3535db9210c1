"""What a request means, and whether this sandbox may have it. Knows nothing of connections.

``/pypi/simple/<project>/``, ``/pypi/files/<project>/<file>``, ``/npm/<package>``, ``/npm/<package>/-/<tarball>``, and
absolute addresses of Debian archives. Anything else is refused: no address that a client makes up is ever asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from ....protocol.egress import Egress
from .debian_archives import DebianArchives
from .debian_indexes import DebianIndexes
from .downloads import Artifact, Downloads, File
from .npm_registry import INSTALL_TYPE, ORIGIN, NpmRegistry
from .python_index import HTML_TYPE, JSON_TYPE, PythonIndex, normalized
from .settings import Settings, Site
from .upstream import NotInIndexError, Upstream

MAX_SHOWN = 200
MAX_TARGET = 2048
ALLOWED_METHODS = ("GET", "HEAD")


class RefusedError(Exception):
    """Not for this sandbox. ``site``: what it wanted, if that is known."""

    def __init__(self, sentence: str, status: int = 403, site: Site | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.site = site


@dataclass(frozen=True, slots=True)
class Reply:
    """What to send. ``etag``: of a file whose hash is known. ``site``: whose it is."""

    site: Site
    content_type: str
    body: bytes | File
    etag: str | None = None


class Routes:
    """All indexes. ``reply`` answers for one of them."""

    def __init__(self, settings: Settings, upstream: Upstream, downloads: Downloads) -> None:
        self._python = PythonIndex(settings.python, upstream, settings.index_seconds)
        self._npm = NpmRegistry(settings.npm, upstream, settings.index_seconds)
        self._debian = DebianArchives(settings.debian)
        self._indexes = DebianIndexes()
        self._downloads = downloads

    async def reply(self, egress: Egress, target: str, accept: str, origin: str) -> Reply:
        """Answer a request for ``target``. Raises RefusedError, UpstreamError.

        ``origin``: by which the sandbox reaches this process, for what must hold whole addresses.
        """
        if len(target) > MAX_TARGET or not target.isascii() or not target.isprintable():
            raise RefusedError("That address is no package's.", 400)
        if not target.startswith("/"):
            return await self._archive(egress, target)
        path = target.partition("?")[0]
        if path.startswith("/pypi/"):
            return await self._python_reply(egress, path.removeprefix("/pypi/"), accept)
        if path.startswith("/npm/"):
            return await self._npm_reply(egress, unquote(path.removeprefix("/npm/")), accept, origin)
        raise RefusedError("Here are /pypi/simple/, /npm/ and, as a proxy, the archives of apt; nothing else.", 404)

    async def _python_reply(self, egress: Egress, path: str, accept: str) -> Reply:
        if not self._python.sites:
            raise NotInIndexError("This service has no Python index.")
        sites = tuple(site for site in self._python.sites if allows(egress, site))
        if not sites:
            check(egress, self._python.sites[0])
        match path.split("/"):
            case ["simple", name] | ["simple", name, ""] if name:
                project = await self._python.project(normalized(unquote(name)), sites)
                if prefers_json(accept):
                    return Reply(sites[0], JSON_TYPE, project.json)
                kind = HTML_TYPE if HTML_TYPE in accept else "text/html; charset=utf-8"
                return Reply(sites[0], kind, project.html())
            case ["files", name, file]:
                return await self._file(await self._python.artifact(normalized(unquote(name)), unquote(file), sites))
        raise NotInIndexError("A Python project is at /pypi/simple/<project>/; there is no list of all.")

    async def _npm_reply(self, egress: Egress, path: str, accept: str, origin: str) -> Reply:
        name, marked, file = path.partition("/-/")
        site = self._npm.site(name)
        check(egress, site)
        if marked:
            return await self._file(await self._npm.artifact(name, file))
        full = INSTALL_TYPE not in accept
        packument = await self._npm.packument(name, full=full)
        kind = "application/json" if full else INSTALL_TYPE
        return Reply(site, kind, packument.body.replace(ORIGIN, origin.encode()))

    async def _archive(self, egress: Egress, target: str) -> Reply:
        try:
            found = self._debian.find(target)
        except NotInIndexError as error:
            raise RefusedError(str(error), 403, _guessed(target)) from error
        if not allows(egress, found.used):
            check(egress, found.seen)
        artifact = found.artifact
        if artifact is None:
            listed = await self._indexes.digest(found.used, found.path)
            return await self._file(Artifact(found.used, found.url, found.path, listed, certain=False))
        self._indexes.learn(found.used, found.path, lambda: self._downloads.open(artifact))
        return await self._file(artifact)

    async def _file(self, artifact: Artifact) -> Reply:
        file = await self._downloads.open(artifact)
        etag = f'"{artifact.digest.name}"' if artifact.digest and artifact.certain else None
        return Reply(artifact.site, "application/octet-stream", file, etag)


def allows(egress: Egress, site: Site) -> bool:
    """Whether a sandbox of this policy may have what an index at that host has."""
    name = site.host
    if isinstance(name, str):
        return egress.allows_name(name, site.port)
    return egress.mode == "internet" or egress.allows_address(name, site.port)


def check(egress: Egress, site: Site) -> None:
    """Raise RefusedError, which tells the policy, unless it allows that."""
    if allows(egress, site):
        return
    if egress.mode == "off":
        raise RefusedError("This sandbox's egress is off, so it gets no packages.", site=site)
    shown = str(egress) if len(str(egress)) <= MAX_SHOWN else str(egress)[:MAX_SHOWN] + "..."
    raise RefusedError(f"This sandbox's egress allows {shown}; {site.host}:{site.port} is not allowed.", site=site)


def prefers_json(accept: str) -> bool:
    """Whether the JSON form of the simple API was asked for (PEP 691), and not less than the HTML forms."""
    weights = dict(_weights(accept))
    wanted = weights.get(JSON_TYPE, weights.get("application/vnd.pypi.simple.latest+json", 0.0))
    return wanted > 0 and wanted >= max(weights.get(HTML_TYPE, 0.0), weights.get("text/html", 0.0))


def _weights(accept: str) -> Iterable[tuple[str, float]]:
    for part in accept.split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        weight = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        try:
            yield kind.lower(), float(weight)
        except ValueError:
            continue


def _guessed(target: str) -> Site | None:
    """Where somebody wanted to go, for the record of the refusal."""
    try:
        parts = urlsplit(target)
        found = Site(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/")
        return found if found.origin[1] else None
    except (ValueError, KeyError):
        return None
