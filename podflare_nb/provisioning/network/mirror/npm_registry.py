"""The npm registry: packuments with the addresses of their tarballs rewritten, and those tarballs.

A tarball is asked for by its package and its name, and is found again in the packument. Names with a scope go to the
scope's registry where there is one (npmrc ``@scope:registry``).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from .downloads import Artifact
from .pages import Pages
from .settings import Site
from .store import Digest
from .upstream import NotInIndexError, Page, Upstream, UpstreamError

INSTALL_TYPE = "application/vnd.npm.install-v1+json"
INSTALL_ACCEPT = f"{INSTALL_TYPE}; q=1.0, application/json; q=0.8"
FULL_ACCEPT = "application/json"
NAME = re.compile(r"(?:@[A-Za-z0-9~][A-Za-z0-9._~-]{0,213}/)?[A-Za-z0-9~_-][A-Za-z0-9._~-]{0,213}")
TARBALL = re.compile(r"[A-Za-z0-9~_@-][A-Za-z0-9._~+@-]{0,250}")
ORIGIN = b"http://mirror.invalid"
"""Stands for the address by which the asking sandbox reaches the mirror, until a packument is served."""
HASHES = {"sha512": 64, "sha384": 48, "sha256": 32}


@dataclass(frozen=True, slots=True)
class Packument:
    """``body``: with rewritten addresses, on ``ORIGIN``. ``tarballs``: address and hash by file name."""

    body: bytes
    tarballs: Mapping[str, tuple[str, Digest | None]]


class NpmRegistry:
    """All registries as one."""

    def __init__(self, registries: Mapping[str, Site], upstream: Upstream, fresh_seconds: float) -> None:
        self._registries = registries
        self._pages: Pages[Packument] = Pages(upstream, parse, fresh_seconds)

    def site(self, name: str) -> Site:
        """The registry of that package. Raises NotInIndexError."""
        scope = name.partition("/")[0] if name.startswith("@") else ""
        found = self._registries.get(scope, self._registries.get(""))
        if found is None or not NAME.fullmatch(name):
            raise NotInIndexError("That is no name of an npm package that this service could have.")
        return found

    async def packument(self, name: str, *, full: bool) -> Packument:
        """What the registry tells of a package; ``full``: more than installing needs. Raises UpstreamError."""
        site = self.site(name)
        url = site.url + name.replace("/", "%2f")
        return await self._pages.get(site, url, FULL_ACCEPT if full else INSTALL_ACCEPT)

    async def artifact(self, name: str, file: str) -> Artifact:
        """What is to be downloaded for that tarball. Raises UpstreamError."""
        found = (await self.packument(name, full=False)).tarballs.get(file)
        if found is None:
            raise NotInIndexError(f"The package {name} has no tarball of that name.")
        return Artifact(self.site(name), found[0], file, found[1])


def parse(page: Page) -> Packument:
    """Take an upstream's packument. Raises UpstreamError."""
    tarballs: dict[str, tuple[str, Digest | None]] = {}
    try:
        told = json.loads(page.body or b"")
        name = _name(told["name"])
        versions = {version: _rewritten(page.url, name, entry, tarballs) for version, entry in told["versions"].items()}
        body = json.dumps({**told, "versions": versions}).encode()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UpstreamError(f"The npm registry at {urlsplit(page.url).hostname} sent a page that is wrong.") from error
    return Packument(body, tarballs)


def _name(told: str) -> str:
    if not NAME.fullmatch(told):
        raise ValueError("is no name of an npm package")
    return told


def _rewritten(
    base: str, name: str, entry: dict[str, Any], tarballs: dict[str, tuple[str, Digest | None]]
) -> dict[str, Any]:
    dist = dict(entry["dist"])
    url = urljoin(base, str(dist["tarball"]))
    parts = urlsplit(url)
    file = unquote(parts.path.rpartition("/")[2])
    if parts.scheme in {"http", "https"} and TARBALL.fullmatch(file):
        tarballs.setdefault(file, (parts._replace(fragment="").geturl(), _digest(dist)))
    dist["tarball"] = f"{ORIGIN.decode()}/npm/{name}/-/{file}"
    return {**entry, "dist": dist}


def _digest(dist: Mapping[str, Any]) -> Digest | None:
    """The strongest hash of ``integrity`` (Subresource Integrity), or ``shasum``."""
    parts = str(dist.get("integrity", "")).split()
    offered = dict(part.partition("?")[0].split("-", 1) for part in parts if "-" in part)
    for algorithm, size in HASHES.items():
        try:
            raw = base64.b64decode(offered.get(algorithm, ""), validate=True)
        except (binascii.Error, ValueError):
            continue
        if len(raw) == size:
            return Digest(algorithm, raw.hex())
    try:
        return Digest("sha1", str(dist.get("shasum", "")).lower())
    except ValueError:
        return None
