"""What a client's first bytes in a tunnel are: TLS, HTTP/1, HTTP/2, or something of its own. Pure.

Bytes that could become the beginning of TLS or of an HTTP request are held back until that is known; others may go on
at once, so that protocols of which we know nothing wait for nothing. A request line that was let go in part, since it
began with a method that nobody knows, is still watched to its end: it is cut off where it turns out to be HTTP.
"""

from __future__ import annotations

import re
from enum import Enum

from . import client_hello

MAX_LINE = 64 * 1024
PREFACE = b"PRI * HTTP/2.0"
BLANK = b"\r\n \t\v\f\0"
METHODS = frozenset(
    b"ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK MERGE MKACTIVITY "
    b"MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PRI PROPFIND PROPPATCH PURGE PUT "
    b"QUERY REBIND REPORT SEARCH SOURCE TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE UPDATEREDIRECTREF VERSION-CONTROL "
    b"VIEW".split()
)
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]*")


class Kind(Enum):
    """``UNKNOWN``: more must be read. ``CUT``: HTTP/1 whose first bytes were let go already."""

    UNKNOWN = "unknown"
    TLS = "tls"
    HTTP = "http"
    HTTP2 = "http2"
    RAW = "raw"
    CUT = "cut"


class FirstBytes:
    """``feed`` what the client sends until it says a kind; ``take_passable`` in between."""

    def __init__(self) -> None:
        self.held = bytearray()
        self.hello: bytes | None = None
        self._passed = b""
        self._passed_count = 0

    def feed(self, data: bytes) -> Kind:
        """The kind, as far as it is known now. Raises NotTlsError."""
        self.held += data
        if not self._passed_count and self.held and client_hello.looks_like_tls(self.held):
            self.hello = client_hello.message(self.held)
            return Kind.UNKNOWN if self.hello is None else Kind.TLS
        return self._text_kind()

    def kind_at_end(self) -> Kind:
        """What it was, if nothing more comes. Raises nothing: a ClientHello that is cut off has no name."""
        tls = bool(self.held) and not self._passed_count and client_hello.looks_like_tls(self.held)
        return Kind.TLS if tls else Kind.RAW

    def take_passable(self) -> bytes:
        """Bytes that may go on though the kind is not known yet; they are no longer held."""
        if not self.held or (not self._passed_count and client_hello.looks_like_tls(self.held)):
            return b""
        body = self.held.lstrip(BLANK)
        passable = len(self.held) - len(body)
        if self._passed or not _may_be_method(bytes(body)):
            passable = len(self.held)
            self._passed = (self._passed + bytes(body))[-len(b"HTTP") :]
        data = bytes(self.held[:passable])
        del self.held[:passable]
        self._passed_count += len(data)
        return data

    def _text_kind(self) -> Kind:
        if self._passed:
            return self._kind_of_line(self._passed + self.held, Kind.CUT)
        body = bytes(self.held.lstrip(BLANK))
        if body.startswith(PREFACE):
            return Kind.HTTP2
        word = _TOKEN.match(body).group()  # type: ignore[union-attr]  # it matches nothing, too
        after = body[len(word) : len(word) + 1]
        if after and (not word or after not in BLANK):
            return Kind.RAW
        return self._kind_of_line(body, Kind.HTTP)

    def _kind_of_line(self, body: bytes, http: Kind) -> Kind:
        line, end, _ = body.partition(b"\n")
        if b"HTTP/" in line.upper():
            return http
        if len(body) + self._passed_count > MAX_LINE and not end:
            return Kind.HTTP if http is Kind.HTTP and _may_be_method(body) else Kind.RAW
        return Kind.RAW if end else Kind.UNKNOWN


def _may_be_method(body: bytes) -> bool:
    """Whether it begins with a method that is known, or could yet."""
    word = _TOKEN.match(body).group()  # type: ignore[union-attr]  # it matches nothing, too
    if len(word) < len(body):
        return word in METHODS
    return any(method.startswith(word) for method in METHODS)
