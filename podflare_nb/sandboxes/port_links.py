"""Who may reach a port of a sandbox without a key: signed links to show it to others, and visits of browsers.

A link is signed, not kept: a code over port, end and the port's generation, by a secret that lives as long as the
sandbox. Whoever revokes the links of a port raises its generation. Nothing of it is on disk, since no sandbox outlives
the service's process.

A visit is what an address bar holds: a page in a sandboxed origin sends no cookies, so its own address must say who
asks. Only the hash of its token is kept. One without use for ``IDLE_SECONDS`` is over, and so is one whose link is.
"""

import hashlib
import hmac
import secrets
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil

from ..errors import ForbiddenError, GoneError
from .cookie_jar import CookieJar

IDLE_SECONDS = 3600
MOST_VISITS = {False: 64, True: 256}
"""Of an owner, and by links; the one that was longest without use goes first."""
SIGNED = struct.Struct(">HQI")
"""Port, end in whole seconds since the epoch, generation."""

NOT_A_LINK = "This link is not valid: it was cut off or changed. Ask for it again."
OVER = "This link has expired. Ask whoever sent it for another one."
REVOKED = "This link was revoked. Ask whoever sent it for another one."
VISIT_OVER = "This visit is over. Open the port, or the link to it, again."


@dataclass(slots=True)
class Pass:
    """What lets somebody reach one port. ``ends_at``: of a link, in seconds since the epoch; None: the owner's own.

    ``key_id``: the key that the owner began the visit with, while it is valid.
    """

    port: int
    jar: CookieJar
    ends_at: int | None = None
    generation: int = 0
    key_id: str | None = None

    @property
    def by_link(self) -> bool:
        """Whether it is somebody else than the owner."""
        return self.ends_at is not None


@dataclass(slots=True)
class _Visit:
    allows: Pass
    used_at: float


@dataclass(slots=True)
class PortLinks:
    """The links and visits of one sandbox. ``clock``: seconds since the epoch."""

    clock: Callable[[], float]
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    _generations: dict[int, int] = field(default_factory=dict)
    _visits: dict[bytes, _Visit] = field(default_factory=dict)
    _jars: dict[int, CookieJar] = field(default_factory=dict)

    def make(self, port: int, seconds: int) -> tuple[str, int]:
        """A link's token, and when it ends."""
        ends_at = ceil(self.clock()) + seconds
        signed = SIGNED.pack(port, ends_at, self._generations.get(port, 0))
        return urlsafe_b64encode(signed + self._code(signed)).rstrip(b"=").decode(), ends_at

    def check(self, port: int, token: str) -> Pass:
        """What a link allows. Raises ForbiddenError if it is none of this port's, GoneError if it is over."""
        try:
            data = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except (Base64Error, ValueError):
            data = b""
        signed, code = data[: SIGNED.size], data[SIGNED.size :]
        if not hmac.compare_digest(code, self._code(signed)):
            raise ForbiddenError(NOT_A_LINK)
        of, ends_at, generation = SIGNED.unpack(signed)
        if of != port:
            raise ForbiddenError(NOT_A_LINK)
        allows = Pass(port, CookieJar(self.clock), ends_at, generation)
        self._check_not_over(allows)
        return allows

    def revoke(self, port: int) -> None:
        """No link of this port that was made is valid any more, nor a visit that came by one."""
        self._generations[port] = self._generations.get(port, 0) + 1

    def for_owner(self, port: int, key_id: str | None) -> Pass:
        """What the owner may. All of the owner's visits to a port share its cookies."""
        return Pass(port, self._jars.setdefault(port, CookieJar(self.clock)), key_id=key_id)

    def visit(self, allows: Pass) -> str:
        """Begin a visit; its token."""
        token = secrets.token_urlsafe(32)
        self._visits[_digest(token)] = _Visit(allows, self.clock())
        alike = [key for key, visit in self._visits.items() if visit.allows.by_link == allows.by_link]
        for key in alike[: -MOST_VISITS[allows.by_link]]:
            del self._visits[key]
        return token

    def find(self, port: int, token: str) -> Pass:
        """What a visit allows; it has been used now. Raises GoneError."""
        key = _digest(token)
        visit = self._visits.pop(key, None)
        if visit is None or visit.allows.port != port or visit.used_at + IDLE_SECONDS < self.clock():
            raise GoneError(VISIT_OVER)
        self._check_not_over(visit.allows)
        self._visits[key] = _Visit(visit.allows, self.clock())
        return visit.allows

    def _check_not_over(self, allows: Pass) -> None:
        if allows.ends_at is None:
            return
        if allows.generation != self._generations.get(allows.port, 0):
            raise GoneError(REVOKED)
        if allows.ends_at <= self.clock():
            raise GoneError(OVER)

    def _code(self, signed: bytes) -> bytes:
        return hmac.digest(self._secret, signed, "sha256")


def _digest(token: str) -> bytes:
    """By which a token is looked up: how long that takes tells nothing of one that is valid."""
    return hashlib.sha256(token.encode()).digest()
