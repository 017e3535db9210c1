"""Which indexes the mirror stands before: by the operator's configuration file, and where it says nothing, the host's.

The file is TOML; ``docs/operators.md`` describes it. Addresses are taken apart here: what identifies the operator
(user, password, token) becomes an ``Authorization`` header, which is sent to that origin only and shown nowhere.
"""

from __future__ import annotations

import base64
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ....errors import InvalidArgumentError
from ....protocol.egress import Address, host

PYPI = "https://pypi.org/simple/"
NPM = "https://registry.npmjs.org/"
KNOWN_FILE_HOSTS = ("files.pythonhosted.org",)
"""Where the public Python index keeps its files."""
GIB = 1 << 30
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Site:
    """An index or archive. ``url`` ends with a slash and holds no credentials."""

    url: str
    authorization: str | None = field(default=None, repr=False)

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return urlsplit(self.url).scheme

    @property
    def host(self) -> str | Address:
        """In its one spelling (``protocol.egress.host``)."""
        return host(urlsplit(self.url).hostname or "")

    @property
    def port(self) -> int:
        """The scheme's own if the address names none."""
        return urlsplit(self.url).port or PORTS[self.scheme]

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: whoever has the same may see the credentials."""
        return self.scheme, str(self.host), self.port


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the mirror is told. ``npm``: registries by scope, ``""`` for names without one of its own.
    ``debian``: archives by the address that sandboxes use (``http://host/path/``). Sizes in bytes."""

    python: tuple[Site, ...] = ()
    npm: Mapping[str, Site] = field(default_factory=dict)
    debian: Mapping[str, Site] = field(default_factory=dict)
    trusted_hosts: frozenset[str] = frozenset(KNOWN_FILE_HOSTS)
    ca_bundle: str | None = None
    proxy: str | None = field(default=None, repr=False)
    cache_bytes: int = 8 * GIB
    index_seconds: float = 60.0

    def hosts(self) -> frozenset[str]:
        """Hosts that the operator named: what they resolve to is the operator's affair."""
        sites = (*self.python, *self.npm.values(), *self.debian.values())
        return self.trusted_hosts | {str(site.host) for site in sites}


def site(address: object, name: str, *, authorization: str | None = None) -> Site:
    """A site of an address that may hold user and password. Raises InvalidArgumentError, which does not show it."""
    parts = urlsplit("")
    port = ""
    usable = False
    with suppress(ValueError):
        parts = urlsplit(address if isinstance(address, str) else "")
        port = f":{parts.port}" if parts.port else ""
        usable = parts.scheme in PORTS and bool(parts.hostname and host(parts.hostname))
    if not usable or parts.query or parts.fragment:
        raise InvalidArgumentError(f"{name} must be an address like https://index.example.org/simple/.")
    if authorization is None and parts.username is not None:
        authorization = basic(unquote(parts.username), unquote(parts.password or ""))
    name_of_host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
    return Site(f"{parts.scheme}://{name_of_host}{port}{parts.path.rstrip('/')}/", authorization)


def basic(user: str, password: str) -> str:
    """The header's value for RFC 7617."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def read(path: Path | None, host_settings: Settings) -> Settings:
    """What the file says over what the host uses. Raises InvalidArgumentError that names the field."""
    if path is None:
        return host_settings
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InvalidArgumentError(f"The configuration of packages, {path}, cannot be read: {error}.") from error
    try:
        return _Reading(tables).over(host_settings)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{path}: {error}") from error


class _Reading:
    """Takes values out of the tables; what is left at the end was misspelled."""

    def __init__(self, tables: dict[str, Any]) -> None:
        self._left = {name: dict(table) if isinstance(table, dict) else table for name, table in tables.items()}

    def over(self, below: Settings) -> Settings:
        found = replace(
            below,
            python=self._python() or below.python,
            npm={**below.npm, **self._npm()},
            debian={**below.debian, **self._debian()},
            trusted_hosts=below.trusted_hosts | frozenset(self._take("http", "trusted_hosts", list, [])),
            ca_bundle=self._take("http", "ca_bundle", str, below.ca_bundle),
            proxy=self._take("http", "proxy", str, below.proxy),
            cache_bytes=self._take("cache", "max_bytes", int, below.cache_bytes),
            index_seconds=self._take("cache", "index_seconds", (int, float), below.index_seconds),
        )
        for name, table in self._left.items():
            if table or not isinstance(table, dict):
                wrong = f"{name}.{next(iter(table))}" if isinstance(table, dict) else name
                raise InvalidArgumentError(f"{wrong} is not known.")
        return found

    def _take(self, table: str, key: str, kind: type | tuple[type, ...], default: Any) -> Any:
        values = self._left.get(table, {})
        if not isinstance(values, dict):
            raise InvalidArgumentError(f"{table} must be a table.")
        value = values.pop(key, default)
        if value is not default and (not isinstance(value, kind) or isinstance(value, bool)):
            raise InvalidArgumentError(f"{table}.{key} has a value of the wrong type.")
        return value

    def _python(self) -> tuple[Site, ...]:
        urls = [self._take("python", "index_url", str, None), *self._take("python", "extra_index_urls", list, [])]
        header = _authorization(self._left.get("python", {}), "python")
        first = urls.pop(0)
        found = [] if first is None else [site(first, "python.index_url", authorization=header)]
        if urls and not found:
            raise InvalidArgumentError("python.extra_index_urls needs python.index_url beside it.")
        return (*found, *(site(url, "python.extra_index_urls") for url in urls))

    def _npm(self) -> dict[str, Site]:
        registry = self._take("npm", "registry", str, None)
        header = _authorization(self._left.get("npm", {}), "npm")
        found = {} if registry is None else {"": site(registry, "npm.registry", authorization=header)}
        for scope, table in self._take("npm", "scopes", dict, {}).items():
            name = f'npm.scopes."{scope}"'
            if not scope.startswith("@") or not isinstance(table, dict):
                raise InvalidArgumentError(f"{name} must be a table, and its name begin with @.")
            values = dict(table)
            header = _authorization(values, name)
            found[scope] = site(values.pop("registry", None), f"{name}.registry", authorization=header)
            if values:
                raise InvalidArgumentError(f"{name}.{next(iter(values))} is not known.")
        return found

    def _debian(self) -> dict[str, Site]:
        archives = self._take("debian", "archives", dict, {})
        return {inside_address(seen): site(used, f'debian.archives."{seen}"') for seen, used in archives.items()}


def inside_address(address: str) -> str:
    """The address by which sandboxes name an archive: without credentials, and http, as apt asks a proxy."""
    url = site(address, "An archive's address").url
    return "http://" + url.partition("://")[2]


def _authorization(values: dict[str, Any], name: str) -> str | None:
    """Take ``token``, or ``username`` and ``password``, out of a table."""
    token, user, password = (values.pop(key, None) for key in ("token", "username", "password"))
    if any(value is not None and not isinstance(value, str) for value in (token, user, password)):
        raise InvalidArgumentError(f"{name}: token, username and password must be text.")
    if token is not None:
        return f"Bearer {token}"
    return None if user is None else basic(user, password or "")
