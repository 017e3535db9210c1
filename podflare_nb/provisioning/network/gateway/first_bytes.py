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
VERSION = b"HTTP/"
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


class _Stage(Enum):
    """``BEGIN``: held are at most blanks and the beginning of a method. ``HELD``, ``LET_GO``: a line goes on, which
    may be a request's and is held, or whose beginning was let go."""

    BEGIN = "begin"
    TLS = "tls"
    HELD = "held"
    LET_GO = "let go"


class FirstBytes:
    """``feed`` what the client sends until it says a kind; ``take_passable`` in between.

    ``held``: what was read and not taken; ``hello``: the body of the ClientHello, when the kind is TLS. Each byte is
    looked at once, however small the parts are.
    """

    def __init__(self) -> None:
        self.held = bytearray()
        self.hello: bytes | None = None
        self._reader = client_hello.ClientHelloReader()
        self._stage = _Stage.BEGIN
        self._any_taken = False
        self._line_end = b""
        self._line_bytes = 0

    def feed(self, data: bytes) -> Kind:
        """The kind, as far as it is known now. Raises NotTlsError."""
        self.held += data
        if self._stage is _Stage.BEGIN and self._may_be_tls():
            if len(self.held) < len(client_hello.BEGINNING):
                return Kind.UNKNOWN
            self._stage, data = _Stage.TLS, bytes(self.held)
        if self._stage is _Stage.TLS:
            self.hello = self._reader.feed(data)
            return Kind.UNKNOWN if self.hello is None else Kind.TLS
        return self._begin_line() if self._stage is _Stage.BEGIN else self._go_on_with_line(data)

    def kind_at_end(self) -> Kind:
        """What it was, if nothing more comes. TLS then has no ``hello``."""
        return Kind.TLS if self._stage is _Stage.TLS else Kind.RAW

    def take_passable(self) -> bytes:
        """Bytes that may go on though the kind is not known yet; they are no longer held."""
        if self._stage in {_Stage.TLS, _Stage.HELD} or (self._stage is _Stage.BEGIN and self._may_be_tls()):
            return b""
        count = len(self.held)
        if self._stage is _Stage.BEGIN:
            count -= len(self.held.lstrip(BLANK))
        data = bytes(self.held[:count])
        del self.held[:count]
        self._any_taken = self._any_taken or bool(data)
        return data

    def _may_be_tls(self) -> bool:
        return bool(self.held) and not self._any_taken and client_hello.BEGINNING.startswith(self.held[:2])

    def _begin_line(self) -> Kind:
        body = bytes(self.held.lstrip(BLANK))
        if body.startswith(PREFACE):
            return Kind.HTTP2
        word = _TOKEN.match(body).group()  # type: ignore[union-attr]  # it matches nothing, too
        after = body[len(word) : len(word) + 1]
        if after and (not word or after not in BLANK):
            return Kind.RAW
        if not after and any(method.startswith(word) for method in METHODS):
            return Kind.UNKNOWN
        self._stage = _Stage.HELD if word in METHODS else _Stage.LET_GO
        kind = self._go_on_with_line(body)
        return Kind.HTTP if kind is Kind.CUT else kind  # nothing of it was let go yet

    def _go_on_with_line(self, data: bytes) -> Kind:
        line, end, _ = (self._line_end + data).partition(b"\n")
        self._line_bytes += len(line) - len(self._line_end)
        self._line_end = line[1 - len(VERSION) :]
        too_long = self._line_bytes > MAX_LINE
        if VERSION in line.upper() or (too_long and self._stage is _Stage.HELD):
            return Kind.HTTP if self._stage is _Stage.HELD else Kind.CUT
        return Kind.RAW if end or too_long else Kind.UNKNOWN
