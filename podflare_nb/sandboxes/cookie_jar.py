"""The cookies that a sandbox's server sets, kept here in the place of a browser (RFC 6265, without domains).

A browser would keep them for the whole host, beside the service's own, so it never sees them. What a program in the
sandbox says is bounded: so many cookies, each so long, and the oldest goes first.
"""

from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

MOST_COOKIES = 64
MOST_CHARACTERS = 4096


@dataclass(frozen=True, slots=True)
class _Cookie:
    value: str
    path: str
    expires_at: float | None

    def matches(self, path: str) -> bool:
        """Whether a request for this path is to carry it (RFC 6265, 5.1.4)."""
        if not path.startswith(self.path):
            return False
        return len(path) == len(self.path) or self.path.endswith("/") or path[len(self.path)] == "/"


class CookieJar:
    """Cookies of one server for one visitor. ``clock``: seconds since the epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._cookies: dict[tuple[str, str], _Cookie] = {}

    def __len__(self) -> int:
        return len(self._cookies)

    def take(self, header: str, path: str) -> None:
        """Keep what a ``Set-Cookie`` says in the answer to a request for ``path``; one that is no cookie is dropped."""
        pair, *rest = header.split(";")
        name, separator, value = (part.strip() for part in pair.partition("="))
        if not separator or not name or len(pair) > MOST_CHARACTERS or not pair.isprintable():
            return
        attributes = {key.strip().lower(): text.strip() for key, _, text in (each.partition("=") for each in rest)}
        scope = attributes.get("path", "")
        if not scope.startswith("/"):
            scope = path.rpartition("/")[0] or "/"
        cookie = _Cookie(value, scope[:MOST_CHARACTERS], self._expiry(attributes))
        key = (name, cookie.path)
        self._cookies.pop(key, None)
        if not self._is_over(cookie):
            self._cookies[key] = cookie
            if len(self._cookies) > MOST_COOKIES:
                del self._cookies[next(iter(self._cookies))]

    def header_for(self, path: str) -> str | None:
        """The ``Cookie`` header of a request for this path; None without one."""
        self._cookies = {key: cookie for key, cookie in self._cookies.items() if not self._is_over(cookie)}
        matching = [(name, cookie) for (name, _), cookie in self._cookies.items() if cookie.matches(path)]
        matching.sort(key=lambda pair: -len(pair[1].path))
        return "; ".join(f"{name}={cookie.value}" for name, cookie in matching) or None

    def _is_over(self, cookie: _Cookie) -> bool:
        return cookie.expires_at is not None and cookie.expires_at <= self._clock()

    def _expiry(self, attributes: dict[str, str]) -> float | None:
        age = attributes.get("max-age", "")
        if age.removeprefix("-").isdecimal() and len(age) < 12:
            return self._clock() + int(age)
        try:
            return parsedate_to_datetime(attributes.get("expires", "")).timestamp()
        except (ValueError, TypeError, OverflowError):
            return None
