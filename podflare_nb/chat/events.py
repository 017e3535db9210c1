"""One event of a turn, and its two encodings: a line of NDJSON and a server-sent event.

Not the order or the storage of events: ``event_log`` numbers and keeps them. Names are noun-verb; a client skips
the types that it does not know. Other dialects of the same stream are in ``dialects``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

EventType = Literal[
    "turn-start",
    "text-delta",
    "cell-start",
    "cell-output",
    "cell-end",
    "approval-request",
    "approval-end",
    "branch-fork",
    "branch-compare",
    "branch-merge",
    "branch-close",
    "usage",
    "notice",
    "turn-error",
    "turn-end",
]

NDJSON = "application/x-ndjson"
SSE = "text/event-stream"

SSE_KEEP_ALIVE = b": keep-alive\n\n"
"""A comment that a client ignores; sent when nothing happened for a while, so that proxies keep the stream."""


@dataclass(frozen=True, slots=True)
class ChatEvent:
    """``seq`` counts from 0 in each turn; ``ts`` is milliseconds since the epoch."""

    type: EventType
    data: dict[str, Any]
    seq: int
    ts: int

    def json(self) -> bytes:
        """The event as one line of JSON, without a newline at its end."""
        return encode({"type": self.type, "data": self.data, "seq": self.seq, "ts": self.ts})

    def ndjson(self) -> bytes:
        """The event as a line of NDJSON."""
        return self.json() + b"\n"

    def sse(self) -> bytes:
        """The event as a server-sent event whose id is the seq, so that a browser resumes by itself."""
        return b"id: %d\ndata: %b\n\n" % (self.seq, self.json())


_LINE_ENDS = re.compile("[\x85\u2028\u2029]")
"""Allowed in JSON's strings, but some clients split text into lines by them."""


def encode(value: object) -> bytes:
    """Compact JSON that every parser takes: what a kernel sends may hold NaN and half of a surrogate pair."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return encode(_without_nan(value))
    try:
        return _LINE_ENDS.sub(_escaped, text).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def run_arguments(cell: Mapping[str, Any]) -> dict[str, Any]:
    """A cell of code as a call of the tool ``run_code``; ``cell`` is the data of its cell-start."""
    arguments = {"code": cell["source"], "language": cell["language"]}
    return {**arguments, "branch": cell["branch"]["name"]} if "branch" in cell else arguments


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def _without_nan(value: object) -> object:
    """A copy in which NaN and the infinities are null, as JavaScript's JSON.stringify writes them."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value
