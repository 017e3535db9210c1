"""Where a request to a port of a sandbox is to go: its URL in parts, and the same without what must not be logged.

``<base>/podflare/sandboxes/<id>/ports/<port>/<path>`` is for a key or a login; behind the port, ``~v.<token>`` is a
visit and ``~l.<token>`` a link (``sandboxes.port_links``). What follows is the program's own, passed on as it came.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ..errors import InvalidArgumentError

URL = re.compile(
    r"(?P<base>/[^?]*?podflare/sandboxes/(?P<sandbox>[^/?]+)/ports/(?P<port>[^/?]+))"
    r"(?:/~(?P<kind>[vl])\.(?P<token>[^/?]*))?"
    r"(?P<path>/[^?]*)?"
    r"(?P<query>\?.*)?",
    re.DOTALL,
)
TOKEN = re.compile(r"(/ports/[^/?]+/~[vl]\.)[^/?]*")


@dataclass(frozen=True, slots=True)
class Target:
    """``base``: the path up to the port; ``prefix``: to where the program's own begins; neither ends in a slash.

    ``path`` and ``query`` as they were sent; ``path`` is empty where there is not even a slash.
    """

    base: str
    sandbox_id: str
    port: int
    kind: Literal["visit", "link"] | None
    token: str
    path: str
    query: str

    @property
    def prefix(self) -> str:
        """What the program's own paths have in front of them."""
        return f"{self.base}/~{self.kind[0]}.{self.token}" if self.kind else self.base

    def in_visit(self, token: str) -> str:
        """The same place in a visit."""
        return f"{self.base}/~v.{token}{self.path or '/'}{self.query}"


def loggable(uri: str) -> str:
    """The URL without a token that would let in whoever reads it, and without its query."""
    return TOKEN.sub(r"\1[secret]", uri.partition("?")[0])


def parse(uri: str) -> Target:
    """Take a request's URL apart. Raises InvalidArgumentError."""
    found = URL.fullmatch(uri)
    if found is None:
        raise InvalidArgumentError("The URL of a port is /podflare/sandboxes/<id>/ports/<port>/.")
    kinds: dict[str | None, Literal["visit", "link"] | None] = {"v": "visit", "l": "link", None: None}
    return Target(
        base=found["base"],
        sandbox_id=found["sandbox"],
        port=port_of(found["port"]),
        kind=kinds[found["kind"]],
        token=found["token"] or "",
        path=found["path"] or "",
        query=found["query"] or "",
    )


def port_of(text: str) -> int:
    """Read a port's number. Raises InvalidArgumentError."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65_535):
        raise InvalidArgumentError(f"{text[:60]!r} is no port; it must be a whole number from 1 to 65535.")
    return int(text)
