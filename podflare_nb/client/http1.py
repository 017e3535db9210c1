"""HTTP/1.1 as far as a client of one service needs it: a request into bytes, bytes into an answer.

No input or output happens here: ``sockets`` and ``async_sockets`` do that. A general client spends a third of a
millisecond on each call and a tenth of a second on being imported, most of it for what a service on this machine has
no use for: redirects, cookies, proxies, encodings. Bodies come as they are sent (we ask for no encoding).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from .transport import CutError

if TYPE_CHECKING:
    from .transport import Request

MOST_HEAD_BYTES = 64 * 1024
LAST_CHUNK = b"0\r\n\r\n"
"""The end of a body of unknown length."""

_MOST_LINE_BYTES = 4096
_VISIBLE = re.compile(r"[!-~]*")
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")
_HEADER_BREAK = re.compile(r"[\r\n\x00]")
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: |$)")


@lru_cache(maxsize=512)
def authority_and_target(url: str) -> tuple[str, str]:
    """Give what the Host header says and what the request line asks for; parsed once for the many calls there."""
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not _VISIBLE.fullmatch(target):
        target = quote(target, safe="%/?&=:@!$'()*+,;~")
    return parts.netloc.rpartition("@")[2], target


def head_bytes(request: Request, *, in_pieces: bool) -> bytes:
    """Compose a request up to its body, which comes ``in_pieces`` or is ``request.content``."""
    authority, target = authority_and_target(request.url)
    lines = [f"{request.method} {target} HTTP/1.1\r\nHost: {authority}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    if in_pieces:
        if length_of(request) is None:
            lines.append("Transfer-Encoding: chunked")
    elif request.content is not None:
        lines.append(f"Content-Length: {len(request.content)}")
    elif request.method not in {"GET", "HEAD", "DELETE"}:
        lines.append("Content-Length: 0")
    if _HEADER_BREAK.search("".join(lines[1:])):
        raise ValueError("A header cannot hold a line break.")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def length_of(request: Request) -> int | None:
    """Tell how long a body in pieces is; None: not known, it is sent as chunks."""
    length = request.headers.get("Content-Length")
    return None if length is None else int(length)


def chunk_bytes(piece: bytes) -> bytes:
    """Frame one piece of a body of unknown length. An empty one would be its end."""
    return b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""


class AnswerReader:
    """Bytes of one answer in, pieces of its body out.

    ``status`` is 0 until the head came; ``done``: it is whole; ``reusable``: another may come on its connection.
    """

    def __init__(self, method: str) -> None:
        self._method = method
        self._rest = b""
        self._left = 0
        """Bytes to come of the body, or of the chunk."""
        self._framing = "length"
        self._in_trailers = False
        self.status = 0
        self.headers: dict[str, str] = {}
        self.done = False
        self.reusable = False

    def feed(self, data: bytes) -> bytes:
        """Take bytes; give those of the body. Raises CutError for what is no HTTP."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        while not self.status:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                if len(head) > MOST_HEAD_BYTES:
                    raise CutError("the head of the answer is too long")
                self._rest = head
                return b""
            self._read_head(head)
        if self.done:
            # What comes behind a whole answer is not ours: nothing on this connection can be trusted any more.
            self.reusable = self.reusable and not data
            return b""
        return self._chunks(data) if self._framing == "chunked" else self._plain(data)

    def end(self) -> None:
        """Take note that the connection ended; raises CutError unless that is how the answer ends."""
        if self.status and not self.done and self._framing == "close":
            self.done = True
        elif not self.done:
            raise CutError("the service closed the connection")

    def _read_head(self, head: bytes) -> None:
        first, *lines = head.split(b"\r\n")
        matched = _STATUS_LINE.match(first)
        if matched is None:
            raise CutError("what came is no HTTP")
        status = int(matched[1])
        if status < 200:
            return  # an interim answer: the real one follows
        for line in lines:
            name, colon, value = line.decode("latin-1").partition(":")
            key = name.lower()
            if not colon:
                raise CutError("the answer's head has a line that is no header")
            value = value.strip()
            self.headers[key] = f"{self.headers[key]}, {value}" if key in self.headers else value
        self.status = status
        persists = first.startswith(b"HTTP/1.1")
        self.reusable = persists and self.headers.get("connection", "").lower() != "close"
        self._choose_framing()

    def _choose_framing(self) -> None:
        length = self.headers.get("content-length")
        if self._method == "HEAD" or self.status in {204, 304}:
            self.done = True
        elif "chunked" in self.headers.get("transfer-encoding", "").lower():
            self._framing = "chunked"
        elif length is None:
            self._framing, self.reusable = "close", False
        elif length.isascii() and length.isdigit():
            self._left = int(length)
            self.done = not self._left
        else:
            raise CutError("the answer's length is no number")

    def _plain(self, data: bytes) -> bytes:
        if self._framing == "close":
            return data
        taken = data[: self._left]
        self._left -= len(taken)
        if not self._left:
            self.done = True
            self.reusable = self.reusable and len(taken) == len(data)
        return taken

    def _chunks(self, data: bytes) -> bytes:
        pieces: list[bytes] = []
        at = 0
        while at < len(data) and not self.done:
            if self._left:
                piece = data[at : at + self._left]
                self._left -= len(piece)
                at += len(piece)
                pieces.append(piece)
                continue
            end = data.find(b"\n", at)
            if end < 0:
                self._rest = data[at:]
                at = len(data)
                if len(self._rest) > _MOST_LINE_BYTES:
                    raise CutError("a chunk of the answer has no size")
                break
            self._read_line(data[at:end].strip())
            at = end + 1
        if self.done:
            self.reusable = self.reusable and at == len(data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_line(self, line: bytes) -> None:
        """Between chunks: the end of one, the size of the next, or what follows the last."""
        if self._in_trailers:
            self.done = not line
        elif line:
            size = _SIZE.fullmatch(line.partition(b";")[0].strip())
            if size is None:
                raise CutError("a chunk of the answer has no size")
            self._left = int(size[0], 16)
            self._in_trailers = not self._left
