"""The head of an HTTP/1 request, read strictly: what two servers could read in two ways is refused. Pure.

Refused: bare CR or LF, control characters and null bytes, folded lines, space before a colon, two Hosts, two lengths, a
length and a transfer coding, codings but ``chunked``, versions but 1.0 and 1.1. h11 and RFC 9112 are laxer; what
passes here, h11 reads in one way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from ....protocol.egress import Address, host_and_port

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 200
END = b"\r\n\r\n"
HTTP_PORT = 80
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/1\.([01])")
_FIELD = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*")
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n|\r(?=[^\n])")
_DIGITS = re.compile(rb"[0-9]{1,18}")
_AUTHORITY = re.compile(r"[A-Za-z0-9._:\[\]\u0080-\U0010ffff-]+")

Authority = tuple[str | Address, int]


class BadRequestError(Exception):
    """It is no request that we pass on; the sentence says why."""


@dataclass(frozen=True, slots=True)
class RequestHead:
    """``headers``: names and values, in order. ``raw``: the head's bytes, with the empty line."""

    method: str
    target: str
    version: str
    headers: tuple[tuple[bytes, bytes], ...]
    raw: bytes

    def values(self, name: bytes) -> list[bytes]:
        """All values of that header, whose name is given in lower case."""
        return [value for key, value in self.headers if key.lower() == name]

    def tokens(self, name: bytes) -> list[str]:
        """The comma-separated words of that header, in lower case."""
        words = b",".join(self.values(name)).decode("latin-1").split(",")
        return [word.strip().lower() for word in words if word.strip()]

    def host(self, default_port: int) -> Authority | None:
        """Host and port of the Host header; None if it has none. Raises BadRequestError."""
        values = self.values(b"host")
        return _authority(values[0].decode("latin-1"), default_port, "the Host header") if values else None

    def target_host(self) -> Authority:
        """Host and port of CONNECT's target. Raises BadRequestError."""
        return _authority(self.target, None, "CONNECT's target")

    def target_uri(self) -> tuple[Authority, str] | None:
        """Host, port and the path of a target in absolute form; None of one in another form. Raises BadRequestError."""
        if self.target.startswith("/") or self.target == "*":
            return None
        try:
            uri = urlsplit(self.target)
        except ValueError as error:
            raise BadRequestError(f"the request's target is no URI: {error}") from error
        scheme, separator, _ = self.target.partition("://")
        if not separator or scheme.lower() not in {"http", "ws"}:
            raise BadRequestError("this is an HTTP proxy: it takes CONNECT host:port and http:// URIs")
        return _authority(uri.netloc, HTTP_PORT, "the request's target"), _path(uri, self.target)


def _path(uri: SplitResult, target: str) -> str:
    if "#" in target or "\\" in target:
        raise BadRequestError("the request's target has characters that a URI has not")
    return (uri.path or "/") + (f"?{uri.query}" if "?" in target else "")


def _authority(text: str, default_port: int | None, what: str) -> Authority:
    if "@" in text:
        raise BadRequestError(f"{what} has user information, which is not passed on")
    if not _AUTHORITY.fullmatch(text):
        raise BadRequestError(f"{what} names no host")
    try:
        return host_and_port(text, default_port)
    except ValueError as error:
        reason = str(error) if str(error).startswith(("is ", "has ")) else "is no address"
        raise BadRequestError(f"the host of {what} {reason}") from error


def end_of_head(data: bytes | bytearray, seen: int = 0) -> int:
    """Where the head that ``data`` begins with ends; 0 if more of it must be read. Raises BadRequestError.

    ``seen``: how many bytes were there when it was asked before; they are not looked at again.
    """
    start = max(0, seen + 1 - len(END))
    end = data.find(END, start) + len(END)
    found = end >= len(END)
    if _BARE_LINE_FEED.search(data, max(0, start - 1), end if found else len(data)):
        raise BadRequestError("a line of the request's head does not end with CR LF")
    if (end if found else len(data)) > MAX_HEAD_BYTES:
        raise BadRequestError(f"the request's head has more than {MAX_HEAD_BYTES} bytes")
    return end if found else 0


def parse(raw: bytes) -> RequestHead:
    """Read a whole head, as ``end_of_head`` found it. Raises BadRequestError."""
    line, *lines = raw.removesuffix(END).split(b"\r\n")
    request = _REQUEST_LINE.fullmatch(line)
    if request is None:
        raise BadRequestError("the request line is not METHOD target HTTP/1.1")
    if len(lines) > MAX_HEADERS:
        raise BadRequestError(f"the request has more than {MAX_HEADERS} headers")
    method, target, minor = (group.decode("ascii") for group in request.groups())
    head = RequestHead(method, target, f"1.{minor}", tuple(map(_field, lines)), raw)
    _check_framing(head)
    return head


def _field(line: bytes) -> tuple[bytes, bytes]:
    if line[:1] in {b" ", b"\t"}:
        raise BadRequestError("the request has a folded header line")
    field = _FIELD.fullmatch(line)
    if field is None:
        raise BadRequestError("the request has a line that is no header")
    return field[1], field[2]


def _check_framing(head: RequestHead) -> None:
    """One reading of where the request ends, and of whom it is for."""
    hosts, lengths, codings = (head.values(name) for name in (b"host", b"content-length", b"transfer-encoding"))
    if len(hosts) > 1:
        raise BadRequestError("the request has more than one Host header")
    if not hosts and head.version == "1.1":
        raise BadRequestError("the request has no Host header")
    if lengths and codings:
        raise BadRequestError("the request has a Content-Length and a Transfer-Encoding")
    if len(lengths) > 1 or not all(_DIGITS.fullmatch(length) for length in lengths):
        raise BadRequestError("the request's Content-Length is not one number")
    if codings and (len(codings) > 1 or codings[0].lower() != b"chunked" or head.version == "1.0"):
        raise BadRequestError("the request's Transfer-Encoding is not chunked")
