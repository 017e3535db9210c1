"""Which service to call and with which key: arguments, environment and the local data directory, in that order.

A pure decision over what it is given; all that it reads are the two files that a service on this machine leaves
for its own user: ``api-key``, and ``service.json`` while it runs. A key is only ever paired with the place that it
belongs to: the local service's key never goes to another host. Stands below the connection.
"""

from __future__ import annotations

import ipaddress
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_URL = "http://127.0.0.1:8888/podflare"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A service and the key for it. ``key_source`` says in words where the key came from, or was looked for."""

    url: str
    api_key: str | None
    key_source: str

    @property
    def origin(self) -> str:
        """Scheme, host and port: what a pool of connections belongs to."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def is_plain_loopback(self) -> bool:
        """Whether it is spoken to without TLS and proxies: a service on this machine, by http."""
        return self.url.startswith("http:") and self.is_loopback

    @property
    def is_loopback(self) -> bool:
        """Whether it is a service on this machine."""
        name = urlsplit(self.url).hostname or ""
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return name == "localhost"

    def __repr__(self) -> str:
        """Without the key: a repr ends up in logs."""
        return f"Endpoint(url={self.url!r}, key_source={self.key_source!r})"


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """Where the service of this user keeps its data unless told otherwise."""
    if configured := environ.get("PODFLARE_NB_DATA_DIR"):
        return Path(configured)
    base = Path(environ.get("XDG_DATA_HOME") or "")
    return (base if base.is_absolute() else Path("~/.local/share").expanduser()) / "podflare_nb"


def locate(
    host: str | None = None,
    api_key: str | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
) -> Endpoint:
    """Decide where to call and with which key; raises InvalidArgumentError for a host that is no URL."""
    data_dir = default_data_dir(environ)
    local_url = _checked(_url_of_note(data_dir / "service.json") or DEFAULT_URL)
    given = host or environ.get("PODFLARE_NB_URL") or environ.get("PODFLARE_HOST")
    url = _checked(given) if given else local_url
    key_file = data_dir / "api-key"
    local_key = _text_of(key_file) if _same_service(url, local_url) else None
    candidates = [(api_key, "the argument api_key"), (environ.get("PODFLARE_NB_API_KEY"), "PODFLARE_NB_API_KEY")]
    hosted = (environ.get("PODFLARE_API_KEY"), "PODFLARE_API_KEY")
    local = (local_key, str(key_file))
    # A named host is probably the one that PODFLARE_API_KEY is for; the local service has a file of its own.
    candidates += [hosted, local] if given else [local, hosted]
    for key, source in candidates:
        if key:
            return Endpoint(url, _checked_key(key.strip(), source), source)
    return Endpoint(url, None, f"none: no api_key, PODFLARE_NB_API_KEY or {key_file}")


def _checked(url: str) -> str:
    parts = urlsplit(url.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidArgumentError(
            f"The host {url!r} is not a URL; write it as http://127.0.0.1:8888/podflare, scheme and all."
        )
    return url.strip().rstrip("/")


def _checked_key(key: str, source: str) -> str:
    """A key goes into a header: what cannot, is no key."""
    if not key.isascii() or not key.isprintable():
        raise InvalidArgumentError(f"The API key from {source} holds characters that no key has.")
    return key


def _same_service(url: str, local_url: str) -> bool:
    """Whether ``url`` is the local service, by whichever of its two loopback names."""
    named = [urlsplit(one.replace("//localhost", "//127.0.0.1", 1)) for one in (url, local_url)]
    return named[0].netloc == named[1].netloc


def _url_of_note(path: Path) -> str | None:
    """The URL in the note of the running service; None where none runs, or what stands there is no such note."""
    try:
        url = json.loads(_text_of(path) or "{}").get("url")
    except (ValueError, AttributeError):
        return None
    return url if isinstance(url, str) else None


def _text_of(path: Path) -> str | None:
    """The text of a small file; None where there is none, or not for this user."""
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
