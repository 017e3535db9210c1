"""The host's apt sources (sources.list(5)): where its archives are, and the same as sandboxes may see it.

Inside, every archive is asked for over plain http, through the mirror, which does the rest; what identifies the host
to an archive (user and password in an address) and comments are left out. Sources that no mirror can serve (files,
discs) are left out, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

APT = Path("/etc/apt")
_WEB = re.compile(r"https?://[^\s\]]+")
_ANY = re.compile(r"[a-z][a-z0-9+.-]*:\S*|/\S*", re.IGNORECASE)
_ONE_LINE = re.compile(r"(deb|deb-src)(\s+\[[^\]]*\])?\s+(\S+)\s+(\S.*)")


def addresses(apt: Path = APT) -> Iterator[str]:
    """Every archive's address, as it is written there: with user and password, where it has them."""
    for path in _files(apt):
        text = _without_comments(path.read_text(errors="replace"))
        if path.suffix == ".sources":
            for stanza in _stanzas(text):
                yield from _web_uris(stanza)
        else:
            yield from (found[3] for line in text.splitlines() if (found := _web_line(line)))


def inside(apt: Path = APT) -> dict[str, str]:
    """Name below /etc/apt -> text, as sandboxes see it."""
    composed = {}
    for path in _files(apt):
        text = _without_comments(path.read_text(errors="replace"))
        if path.suffix == ".sources":
            kept = [shown for stanza in _stanzas(text) if (shown := _shown_stanza(stanza))]
            composed[str(path.relative_to(apt))] = "\n".join(kept)
        else:
            lines = [line for line in text.splitlines() if _web_line(line)]
            composed[str(path.relative_to(apt))] = "".join(_WEB.sub(_plain, line) + "\n" for line in lines)
    return {name: text for name, text in composed.items() if text}


def hosts(apt: Path = APT) -> list[str]:
    """Of the archives; each once."""
    return sorted({name for url in addresses(apt) if (name := urlsplit(url).hostname)})


def _files(apt: Path) -> list[Path]:
    listed = sorted(path for path in (apt / "sources.list.d").glob("*") if path.suffix in {".list", ".sources"})
    return [path for path in (apt / "sources.list", *listed) if path.is_file()]


def _without_comments(text: str) -> str:
    return "\n".join(
        line.partition(" #")[0].rstrip() for line in text.splitlines() if not line.lstrip().startswith("#")
    )


def _web_line(line: str) -> re.Match[str] | None:
    found = _ONE_LINE.fullmatch(line.strip())
    return found if found and _WEB.fullmatch(found[3]) else None


def _stanzas(text: str) -> Iterator[str]:
    return (stanza for stanza in re.split(r"\n\s*\n", text.strip()) if stanza.strip())


def _field(stanza: str, name: str) -> str:
    found = re.search(rf"^{name}:((?:.*)(?:\n[ \t].*)*)", stanza, re.IGNORECASE | re.MULTILINE)
    return found[1] if found else ""


def _web_uris(stanza: str) -> list[str]:
    """Its addresses that can be served; none if it is switched off."""
    if _field(stanza, "enabled").strip().lower() in {"no", "false", "without", "off", "disable"}:
        return []
    return [url for url in _ANY.findall(_field(stanza, "uris")) if _WEB.fullmatch(url)]


def _shown_stanza(stanza: str) -> str:
    """A stanza with those of its addresses that can be served; nothing if there are none."""
    urls = _web_uris(stanza)
    if not urls:
        return ""
    uris = "URIs: " + " ".join(_WEB.sub(_plain, url) for url in urls)
    return re.sub(r"^uris:(?:.*)(?:\n[ \t].*)*", uris, stanza, flags=re.IGNORECASE | re.MULTILINE) + "\n"


def _plain(address: re.Match[str]) -> str:
    """Over http, and without user and password."""
    rest = address[0].partition("://")[2]
    authority, slash, path = rest.partition("/")
    return f"http://{authority.rpartition('@')[2]}{slash}{path}"
