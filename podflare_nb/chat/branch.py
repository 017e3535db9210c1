"""One branch of a turn: the short name that a model handles, and the sandbox behind it.

``turn_branches`` makes and ends them, ``writer`` runs code in them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from .ports import Sandbox


@dataclass(frozen=True, slots=True)
class Branch:
    """A live branch. ``lane`` keeps its runs in the order in which they were asked for."""

    name: str
    sandbox: Sandbox
    lane: asyncio.Lock = field(default_factory=asyncio.Lock)

    def as_dict(self) -> dict[str, str]:
        """The form of events."""
        return {"name": self.name, "sandbox_id": self.sandbox.id}
