"""Headers on their way to a program in a sandbox and back: what it must not learn, and what it must not say to a
browser in the name of this host. Pure.

To the program: neither our cookies nor a key; it sees itself at ``http://localhost:<port>``, as it would without us,
so that its own checks of ``Host`` and ``Origin`` hold; where it really is stands in ``X-Forwarded-*``.

To the browser: every answer is of a sandboxed, opaque origin (CSP ``sandbox`` without ``allow-same-origin``), which a
program's own policy can narrow only. Headers that would speak for the whole host are left out.
"""

from __future__ import annotations

import base64
import hashlib
import re
from urllib.parse import urljoin, urlsplit

Headers = list[tuple[str, str]]

SANDBOXED = "sandbox allow-scripts allow-forms allow-popups allow-modals allow-downloads"
ISOLATION = {"Content-Security-Policy": SANDBOXED, "Referrer-Policy": "no-referrer"}
"""Of every answer. No referrer: the address lets in whoever has it."""
OPAQUE = "null"
"""What a page of an opaque origin sends as ``Origin``."""

HOP_BY_HOP = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",
})  # fmt: skip
NOT_FOR_PROGRAMS = frozenset({
    "content-length", "cookie", "expect", "forwarded", "host", "http2-settings", "origin", "referer", "x-real-ip",
})  # fmt: skip
"""Beside what begins with ``x-forwarded-`` or ``sec-fetch-``: set anew, or of the service's own page."""
NOT_FOR_BROWSERS = frozenset({
    "accept-ch", "alt-svc", "clear-site-data", "critical-ch", "cross-origin-embedder-policy",
    "cross-origin-opener-policy", "cross-origin-resource-policy", "nel", "origin-agent-cluster", "origin-trial",
    "public-key-pins", "referrer-policy", "report-to", "reporting-endpoints", "service-worker-allowed", "set-cookie",
    "set-login", "strict-transport-security", "x-frame-options",
})  # fmt: skip
"""For the whole host, or against the opaque origin that the page is in; also ``x-accel-*``, which steer nginx."""
CLEAN = re.compile(r"[^\x00-\x1f\x7f]*")
HEADER_LIST = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]{0,4096}")
DOTS = {".": ".", "%2e": ".", "..": "..", "%2e.": "..", ".%2e": "..", "%2e%2e": ".."}
WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def without_hops(headers: Headers) -> Headers:
    """Leave out what concerns one connection alone, with what ``Connection`` names."""
    named = {
        word.strip().lower() for name, value in headers if name.lower() == "connection" for word in value.split(",")
    }
    return [(name, value) for name, value in headers if name.lower() not in HOP_BY_HOP | named]


def to_program(headers: Headers, *, port: int, own_origin: str, cookie: str | None, forwarded: Headers) -> Headers:
    """What the program is sent. ``own_origin``: the service's, which stands for the program's here."""
    itself = f"localhost:{port}"
    kept = [
        (name, value)
        for name, value in without_hops(headers)
        if name.lower() not in NOT_FOR_PROGRAMS and not name.lower().startswith(("x-forwarded-", "sec-fetch-"))
    ]
    for name, value in headers:
        if name.lower() == "origin":
            kept.append((name, f"http://{itself}" if value in {OPAQUE, own_origin} else value))
    if cookie is not None:
        kept.append(("Cookie", cookie))
    return [("Host", itself), *kept, *forwarded]


def to_browser(headers: Headers, *, port: int, prefix: str, outside: str, path: str) -> Headers:
    """What comes back of the program's headers. ``outside``: the service's host; ``path``: the request's, inside."""
    kept: Headers = []
    for name, value in without_hops(headers):
        lower = name.lower()
        if lower in NOT_FOR_BROWSERS or lower.startswith("x-accel-") or not CLEAN.fullmatch(value):
            continue
        if lower in {"location", "content-location"}:
            moved = relocated(value, port=port, prefix=prefix, outside=outside, path=path)
            if moved is None:
                continue
            kept.append((name, moved))
        else:
            kept.append((name, value))
    return kept


def relocated(location: str, *, port: int, prefix: str, outside: str, path: str) -> str | None:
    """Where a redirect leads: into the prefix if it is to the program itself, however it names that.

    One to elsewhere stays as it is, if it is to the web (``http``, ``https``); any other is None.
    """
    inside = f"http://localhost:{port}"
    try:
        aim = urlsplit(urljoin(inside + path, location.strip().replace("\\", "/")))
        host = (aim.hostname, aim.port or (443 if aim.scheme == "https" else 80))
    except ValueError:
        return None
    if aim.scheme not in {"http", "https"}:
        return None
    if host not in {("localhost", port), ("127.0.0.1", port)} and aim.netloc.lower() != outside.lower():
        return aim.geturl()
    steps = without_dots(aim.path)
    if not steps.startswith(prefix + "/"):
        steps = prefix + steps
    return steps + (f"?{aim.query}" if aim.query else "") + (f"#{aim.fragment}" if aim.fragment else "")


def without_dots(path: str) -> str:
    """A path that leads nowhere above itself, as browsers read it (``%2e`` is a dot to them)."""
    steps: list[str] = []
    *directories, last = path.split("/")[1:] or [""]
    for step in directories:
        dots = DOTS.get(step.lower())
        if dots == "..":
            del steps[-1:]
        elif dots is None:
            steps.append(step)
    ends_above = DOTS.get(last.lower())
    if ends_above == "..":
        del steps[-1:]
    return "/" + "".join(f"{step}/" for step in steps) + ("" if ends_above else last)


def for_opaque_origin(headers: Headers) -> Headers:
    """An answer that a page can read which its own program served: to a browser, that is of another origin."""
    own = [(name, value) for name, value in headers if not name.lower().startswith("access-control-")]
    return [
        *own,
        ("Access-Control-Allow-Origin", OPAQUE),
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Expose-Headers", ", ".join(dict.fromkeys(name for name, _ in own))),
        ("Vary", "Origin"),
    ]


def preflight(method: str, wanted: str) -> Headers:
    """The answer to a browser that asks whether a page may ask its own program something."""
    return [
        ("Access-Control-Allow-Origin", OPAQUE),
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Allow-Methods", _listed(method)),
        ("Access-Control-Allow-Headers", _listed(wanted)),
        ("Access-Control-Max-Age", "600"),
        ("Vary", "Origin"),
    ]


def _listed(text: str) -> str:
    return text if HEADER_LIST.fullmatch(text) else ""


def accept_of(key: str) -> str:
    """The answer to a ``Sec-WebSocket-Key`` (RFC 6455, 4.2.2)."""
    return base64.b64encode(hashlib.sha1((key + WEBSOCKET_GUID).encode(), usedforsecurity=False).digest()).decode()
