"""Jupyter messages as bytes: builds and signs requests, checks and opens what a kernel sends.

A kernel is a stranger's, and so is every byte that it sends: what is not signed with its key, not the shape of a
message or absurdly large raises ``MalformedError``, which the connection counts. Contents are parsed only when they
are asked for, so that dropped output costs no parsing. What the contents mean is ``outputs``' to know.
"""

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic_core import from_json, to_json

DELIMITER = b"<IDS|MSG>"
PROTOCOL_VERSION = "5.4"
_HEADER_BYTES = 16 * 1024
_PARSE_BYTES = 64 << 20
"""What the parsed form of one content may take in memory, estimated before it is parsed."""
_MAX_DEPTH = 100
"""Levels of arrays and objects in one content. Encoders of JSON give up at some hundreds, each at its own."""


class MalformedError(Exception):
    """Not a message that we can use."""


def parse(data: bytes | bytearray) -> dict[str, Any]:
    """Parse one JSON object. Raises MalformedError for anything else."""
    if len(data) > _HEADER_BYTES and _parsed_bytes(data) > _PARSE_BYTES:
        raise MalformedError("the parsed message would be too large")
    try:
        value = from_json(data, allow_inf_nan=False)
    except ValueError:
        value = _parse_leniently(data)
    if not isinstance(value, dict):
        raise MalformedError("not a JSON object")
    if data.count(b"{") + data.count(b"[") > _MAX_DEPTH:
        _check_depth(value)
    return value


def _check_depth(value: dict[str, Any]) -> None:
    """Refuse what is nested too deep; level by level, because recursion is what it would exhaust."""
    level: list[Any] = [value]
    for _ in range(_MAX_DEPTH):
        inner = [item for each in level for item in (each.values() if isinstance(each, dict) else each)]
        level = [item for item in inner if isinstance(item, dict | list)]
        if not level:
            return
    raise MalformedError("nested too deep")


def _parsed_bytes(data: bytes | bytearray) -> int:
    """An upper estimate: every bracket a container, every comma a number; text that has them pays for it, too."""
    return len(data) + 64 * (data.count(b"[") + data.count(b"{")) + 32 * data.count(b",")


def _parse_leniently(data: bytes | bytearray) -> Any:
    """What ipykernel may send and strict JSON has not: NaN, bytes that are not UTF-8, half a surrogate pair."""
    try:
        return _scrubbed(json.loads(data.decode("utf-8", "replace")))
    except (ValueError, RecursionError) as error:
        raise MalformedError("not JSON") from error


def _scrubbed(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_scrubbed(item) for item in value]
    if isinstance(value, dict):
        return {_scrubbed(key): _scrubbed(item) for key, item in value.items()}
    return value


@dataclass(frozen=True, slots=True)
class Received:
    """One message: its type, the id of the request it belongs to (empty: none), the content not yet parsed.

    ``dropped`` bytes of it were over the bound of a message; then there is no content. ``size`` is in bytes.
    """

    kind: str
    parent_id: str
    body: bytes | bytearray
    dropped: int = 0

    @property
    def size(self) -> int:
        """Bytes of content."""
        return len(self.body) + self.dropped

    def content(self) -> dict[str, Any]:
        """Parse the content. Raises MalformedError."""
        if self.dropped:
            raise MalformedError("larger than a message may be")
        return parse(self.body)


class Codec:
    """Signs requests and opens messages with a kernel's key."""

    def __init__(self, key: str, session_id: str) -> None:
        self._signer = hmac.HMAC(key.encode(), digestmod=hashlib.sha256)
        self._session_id = session_id
        self._count = 0

    def request(self, kind: str, content: dict[str, Any]) -> tuple[str, list[bytes]]:
        """Build a request: its message id, and its frames for a DEALER socket."""
        self._count += 1
        msg_id = f"{self._session_id}_{self._count}"
        header = to_json(
            {
                "msg_id": msg_id,
                "msg_type": kind,
                "username": "podflare_nb",
                "session": self._session_id,
                "date": datetime.now(UTC).isoformat(),
                "version": PROTOCOL_VERSION,
            }
        )
        parts = [header, b"{}", b"{}", to_json(content)]
        return msg_id, [DELIMITER, self._sign(parts), *parts]

    def open(self, frames: Sequence[bytes | bytearray], dropped: int = 0) -> Received:
        """Check and open a message as it came from the socket. Raises MalformedError.

        One that was cut (``dropped``) cannot be checked; it opens as far as its parent, to be counted there.
        """
        start = 1
        while start <= len(frames) and frames[start - 1] != DELIMITER:
            start += 1
        if len(frames) < start + 5:
            raise MalformedError("too few frames")
        signature, header, parent, _metadata, body = frames[start : start + 5]
        if not dropped and not hmac.compare_digest(self._sign(frames[start + 1 : start + 5]), bytes(signature)):
            raise MalformedError("the signature is wrong")
        if len(header) > _HEADER_BYTES or len(parent) > _HEADER_BYTES:
            raise MalformedError("the header is too long")
        kind = parse(header).get("msg_type")
        parent_id = parse(parent).get("msg_id", "")
        if not isinstance(kind, str) or not isinstance(parent_id, str):
            raise MalformedError("the header has wrong types")
        return Received(kind, parent_id, b"" if dropped else body, dropped)

    def _sign(self, parts: Sequence[bytes | bytearray]) -> bytes:
        signer = self._signer.copy()
        for part in parts:
            signer.update(part)
        return signer.hexdigest().encode()
