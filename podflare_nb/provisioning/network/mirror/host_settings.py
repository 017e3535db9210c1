"""What the host machine itself uses for packages: pip's configuration, npm's, apt's sources. Read-only.

Read as pip, npm and apt read it, as far as it says where indexes are: environment, then the user's file, then the
machine's. Indexes that are directories of the host (``file:``) are not served.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Mapping
from pathlib import Path

from ....errors import InvalidArgumentError
from ...jail import apt_sources
from .settings import NPM, PYPI, Settings, Site, inside_address, site

PIP_FILES = ("/etc/xdg/pip/pip.conf", "/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")
"""Later ones win, as ``pip config debug`` lists them."""
NPM_FILES = ("/usr/etc/npmrc", "/etc/npmrc", "~/.npmrc")
CA_BUNDLES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")


def find(environment: Mapping[str, str] = os.environ, apt: Path = apt_sources.APT) -> Settings:
    """Settings as the host has them; the public indexes where it says nothing."""
    pip = _pip(environment)
    indexes = [pip.get("index-url") or PYPI, *pip.get("extra-index-url", "").split()]
    bundles = [environment.get(name) for name in CA_BUNDLES]
    return Settings(
        python=tuple(found for url in indexes if (found := _site(url)) is not None),
        npm=_npm(environment),
        debian={inside_address(url): site(url, "apt's source") for url in apt_sources.addresses(apt) if _site(url)},
        ca_bundle=next((path for path in (bundles[0], pip.get("cert"), *bundles[1:]) if path), None),
        proxy=pip.get("proxy") or environment.get("HTTPS_PROXY") or environment.get("https_proxy") or None,
    )


def _site(url: str) -> Site | None:
    try:
        return site(url, "An index")
    except InvalidArgumentError:
        return None


def _pip(environment: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    named = environment.get("PIP_CONFIG_FILE")
    for name in (*PIP_FILES, *([named] if named else [])):
        parser = configparser.RawConfigParser()
        try:
            parser.read_string(_home(name, environment).read_text())
        except (OSError, configparser.Error, UnicodeDecodeError):
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                found.update({key.replace("_", "-"): value for key, value in parser.items(section)})
    for key in ("index-url", "extra-index-url", "proxy"):
        if value := environment.get("PIP_" + key.upper().replace("-", "_")):
            found[key] = value
    return found


def _npm(environment: Mapping[str, str]) -> dict[str, Site]:
    values: dict[str, str] = {}
    for name in NPM_FILES:
        try:
            lines = _home(name, environment).read_text().splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        for line in lines:
            key, equals, value = line.partition("=")
            if equals and not key.lstrip().startswith(("#", ";")):
                value = re.sub(r"\$\{(\w+)\}", lambda match: environment.get(match[1], ""), value)
                values[key.strip()] = value.strip().strip("\"'")
    if registry := environment.get("npm_config_registry") or environment.get("NPM_CONFIG_REGISTRY"):
        values["registry"] = registry
    scopes = {key.removesuffix(":registry"): url for key, url in values.items() if re.fullmatch(r"@.+:registry", key)}
    named = {"": values.get("registry", NPM), **scopes}
    return {scope: found for scope, url in named.items() if (found := _registry(url, values)) is not None}


def _registry(url: str, values: Mapping[str, str]) -> Site | None:
    """A registry with what npmrc holds for it (``//host/path/:_authToken`` or ``:_auth``)."""
    found = _site(url)
    if found is None:
        return None
    key = "//" + found.url.partition("://")[2]
    if token := values.get(f"{key}:_authToken"):
        return Site(found.url, f"Bearer {token}")
    if auth := values.get(f"{key}:_auth"):
        return Site(found.url, f"Basic {auth}")
    return found


def _home(name: str, environment: Mapping[str, str]) -> Path:
    return Path(name.replace("~", environment.get("HOME", "/nonexistent"), 1))
