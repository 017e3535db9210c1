"""The part of a file that a request asks for: one range of its bytes (RFC 9110, section 14).

What the RFC lets a server pass over is passed over, and the whole file is sent: several ranges, other units, what is no
range, and a range of a file that has changed since (``If-Range``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.ASCII)


def part_of(headers: Mapping[str, str], size: int, etag: str) -> range | None:
    """Decide which bytes of ``size`` to send; None: all. An empty range: there is nothing where it was asked for."""
    asked = _RANGE.fullmatch(headers.get("Range", "").replace(" ", ""))
    if asked is None or headers.get("If-Range", etag) != etag:
        return None
    first, last = asked.groups()
    if first and last and int(last) < int(first):
        return None
    if first:
        return range(int(first), min(int(last) + 1, size) if last else size)
    return range(max(0, size - int(last)), size) if last else None
