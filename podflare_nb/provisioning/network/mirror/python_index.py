"""The Python index: the simple repository API (PEP 503, 658, 691, 700, 714) over those of the operator.

Of an upstream's page only what installers need is taken over, each field checked; addresses are never passed on. A
file is asked for by its project and its name, and is found again in the project's page.
"""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from .downloads import Artifact
from .pages import Pages
from .settings import Site
from .store import Digest
from .upstream import NotInIndexError, Page, Upstream, UpstreamError

JSON_TYPE = "application/vnd.pypi.simple.v1+json"
HTML_TYPE = "application/vnd.pypi.simple.v1+html"
ACCEPT = f"{JSON_TYPE}, {HTML_TYPE};q=0.2, text/html;q=0.1"
PROJECT = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,198}[a-z0-9])?")
FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!~-]{0,250}")
ALGORITHM, HEX = re.compile(r"[a-z0-9_]{1,20}"), re.compile(r"[0-9a-fA-F]{1,200}")
PREFERRED = ("sha256", "sha512", "sha384", "sha1")
FILES_PATH = "/pypi/files"
MAX_COMPOSED = 64
"""Projects whose composed page is kept."""


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file of a project's page. ``metadata``: its metadata can be had alone, with these hashes (PEP 658)."""

    name: str
    url: str
    hashes: dict[str, str]
    metadata: dict[str, str] | None = None
    requires_python: str | None = None
    yanked: str | bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    """``size`` and ``upload-time``, where the page has them."""


NO_FILE = ListedFile("", "", {})


@dataclass(frozen=True, slots=True)
class Project:
    """A project as sandboxes see it. ``sources``: by file name, the file and the index that lists it; ``pages``: what
    it was composed of."""

    name: str
    json: bytes
    sources: dict[str, tuple[ListedFile, Site]]
    pages: list[list[ListedFile]]

    def html(self) -> bytes:
        """For installers from before 2022."""
        anchors = "\n".join(_anchor(self.name, file) for file, _ in self.sources.values())
        return (
            '<!DOCTYPE html>\n<html><head><meta name="pypi:repository-version" content="1.0">'
            f"<title>{self.name}</title></head><body>\n{anchors}\n</body></html>\n"
        ).encode()


class PythonIndex:
    """The indexes as one, as pip takes several: all their files; of two with one name, the first index's."""

    def __init__(self, sites: tuple[Site, ...], upstream: Upstream, fresh_seconds: float) -> None:
        self.sites = sites
        self._pages: Pages[list[ListedFile]] = Pages(upstream, parse, fresh_seconds)
        self._composed: OrderedDict[tuple[str, tuple[Site, ...]], Project] = OrderedDict()

    async def project(self, name: str, sites: tuple[Site, ...]) -> Project:
        """The project by its normalized name, as these of the indexes have it. Raises UpstreamError."""
        if not PROJECT.fullmatch(name):
            raise NotInIndexError("That is no name of a Python project.")
        found: list[tuple[list[ListedFile], Site]] = []
        for site in sites:
            try:
                found.append((await self._pages.get(site, f"{site.url}{name}/", ACCEPT), site))
            except NotInIndexError:
                continue
        if not found:
            raise NotInIndexError(f"No Python index of this service has a project {name}.")
        pages = [files for files, _ in found]
        key = (name, tuple(site for _, site in found))
        kept = self._composed.pop(key, None)
        if kept is None or any(old is not new for old, new in zip(kept.pages, pages, strict=True)):
            sources = {file.name: (file, site) for files, site in reversed(found) for file in files}
            kept = await asyncio.to_thread(_compose, name, sources, pages)
        self._composed[key] = kept
        if len(self._composed) > MAX_COMPOSED:
            self._composed.popitem(last=False)
        return kept

    async def artifact(self, name: str, file: str, sites: tuple[Site, ...]) -> Artifact:
        """What is to be downloaded for that file name, or for it and ``.metadata``. Raises UpstreamError."""
        sources = (await self.project(name, sites)).sources
        if file in sources:
            whole, index = sources[file]
            return Artifact(index, whole.url, file, digest(whole.hashes))
        listed, site = sources.get(file.removesuffix(".metadata"), (NO_FILE, None))
        if site is None or listed.metadata is None:
            raise NotInIndexError(f"The project {name} has no file of that name.")
        parts = urlsplit(listed.url)
        return Artifact(site, parts._replace(path=parts.path + ".metadata").geturl(), file, digest(listed.metadata))


def normalized(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def digest(hashes: dict[str, str]) -> Digest | None:
    """The best of them that is known here."""
    for algorithm in PREFERRED:
        try:
            return Digest(algorithm, hashes[algorithm].lower())
        except (KeyError, ValueError):
            continue
    return None


def parse(page: Page) -> list[ListedFile]:
    """The files of an upstream's page. Raises UpstreamError."""
    text = page.body or b""
    try:
        if page.content_type.partition(";")[0].strip().lower().endswith("json"):
            listed = [_of_json(entry) for entry in json.loads(text)["files"]]
        else:
            listed = _of_html(text.decode("utf-8", "replace"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UpstreamError(f"The Python index at {urlsplit(page.url).hostname} sent a page that is wrong.") from error
    return [file for entry in listed if (file := _checked(page.url, **entry)) is not None]


def _checked(base: str, url: str, hashes: object, metadata: object, **rest: Any) -> ListedFile | None:
    """An entry as it may be passed on; None for one whose file could not be asked for."""
    address = urljoin(base, url)
    parts = urlsplit(address)
    name = unquote(parts.path.rpartition("/")[2])
    if parts.scheme not in {"http", "https"} or not FILE.fullmatch(name):
        return None
    python, yanked, facts = rest.get("requires_python"), rest.get("yanked"), rest.get("facts", {})
    return ListedFile(
        name,
        parts._replace(fragment="").geturl(),
        _hashes(hashes) or {},
        None if metadata in (None, False) else _hashes(metadata) or {},
        python if isinstance(python, str) else None,
        yanked if isinstance(yanked, str) else bool(yanked),
        {key: value for key, value in facts.items() if isinstance(value, int | str)},
    )


def _hashes(value: object) -> dict[str, str] | None:
    if not isinstance(value, dict):
        return None
    return {name: text for name, text in value.items() if ALGORITHM.fullmatch(name) and HEX.fullmatch(str(text))}


def _of_json(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "url": str(entry["url"]), "hashes": entry.get("hashes"),
        "metadata": entry.get("core-metadata", entry.get("dist-info-metadata")),
        "requires_python": entry.get("requires-python"), "yanked": entry.get("yanked"),
        "facts": {key: entry[key] for key in ("size", "upload-time") if key in entry},
    }  # fmt: skip


def _of_html(text: str) -> list[dict[str, Any]]:
    reader = _Anchors()
    reader.feed(text)
    reader.close()
    return reader.entries


class _Anchors(HTMLParser):
    """Collects the files of a page of PEP 503."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[dict[str, Any]] = []
        self._base = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "base":
            self._base = values.get("href", "")
        if tag != "a" or not values.get("href"):
            return
        url = urljoin(self._base, values["href"]) if self._base else values["href"]
        algorithm, _, value = urlsplit(url).fragment.partition("&")[0].partition("=")
        told = values.get("data-core-metadata", values.get("data-dist-info-metadata"))
        kind, _, hexadecimal = (told or "").partition("=")
        self.entries.append({
            "url": url, "hashes": {algorithm: value},
            "metadata": None if told is None else {kind: hexadecimal} if hexadecimal else told == "true",
            "requires_python": values.get("data-requires-python"),
            "yanked": values["data-yanked"] or True if "data-yanked" in values else False,
        })  # fmt: skip


def _compose(name: str, found: dict[str, tuple[ListedFile, Site]], pages: list[list[ListedFile]]) -> Project:
    sources = dict(sorted(found.items()))
    entries = [_json_entry(name, file) for file, _ in sources.values()]
    body = {"meta": {"api-version": "1.0"}, "name": name, "files": entries}
    return Project(name, json.dumps(body).encode(), sources, pages)


def _path(name: str, file: ListedFile) -> str:
    return f"{FILES_PATH}/{name}/{file.name}"


def _json_entry(name: str, file: ListedFile) -> dict[str, Any]:
    entry: dict[str, Any] = {"filename": file.name, "url": _path(name, file), "hashes": file.hashes, **file.facts}
    entry["yanked"] = file.yanked
    if file.requires_python is not None:
        entry["requires-python"] = file.requires_python
    if file.metadata is not None:
        entry["core-metadata"] = entry["dist-info-metadata"] = file.metadata or True
    return entry


def _anchor(name: str, file: ListedFile) -> str:
    best = digest(file.hashes)
    attributes = {"href": _path(name, file) + (f"#{best.algorithm}={best.hex}" if best else "")}
    if file.requires_python is not None:
        attributes["data-requires-python"] = file.requires_python
    if file.metadata is not None:
        known = digest(file.metadata)
        told = f"{known.algorithm}={known.hex}" if known else "true"
        attributes["data-core-metadata"] = attributes["data-dist-info-metadata"] = told
    if file.yanked is not False:
        attributes["data-yanked"] = file.yanked if isinstance(file.yanked, str) else ""
    shown = " ".join(f'{key}="{html.escape(value)}"' for key, value in attributes.items())
    return f"<a {shown}>{html.escape(file.name)}</a><br>"
