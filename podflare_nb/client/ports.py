"""What the service tells of a sandbox's ports, as plain records. No input or output happens here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class PortInfo:
    """Something that listens in a sandbox."""

    port: int
    address: str
    """Where, inside."""
    process: str | None
    """The name that its process has given itself; None if it was not found, or is another branch's."""
    url: str
    """Where its owner reaches it: by a key in the Authorization header, or in a browser that is logged in."""
    raw: dict[str, Any] = field(repr=False)

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> PortInfo:
        """Read one row of the list of ports."""
        return cls(
            port=int(answer["port"]),
            address=str(answer.get("address") or ""),
            process=answer.get("process"),
            url=str(answer.get("url") or ""),
            raw=dict(answer),
        )


@dataclass(frozen=True, slots=True)
class PortLink:
    """A link that shows a port to whoever has it."""

    url: str
    expires_at: str
    """ISO 8601 in UTC."""
    raw: dict[str, Any] = field(repr=False)

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> PortLink:
        """Read a new link."""
        return cls(url=str(answer["url"]), expires_at=str(answer["expires_at"]), raw=dict(answer))
