"""Ports of a sandbox on the wire: what listens, and links to show it to others."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field, RootModel

from .requests import Request, Seconds
from .responses import Response

LINK_SECONDS = 3600


class PortInfo(Response):
    """Something that listens. ``address``: where, inside; ``url``: where its owner reaches it.

    ``process``: the name that the process has given itself; null if it was not found, or is another branch's.
    """

    port: Annotated[int, Field(ge=1, le=65_535)]
    address: str
    process: str | None
    url: str


class PortList(RootModel[list[PortInfo]]):
    """``GET /v1/sandboxes/{id}/ports``: by number. Branches of one family have one network, hence one list."""


class CreatePortLink(Request):
    """``POST /v1/sandboxes/{id}/ports/{port}/links``."""

    expires_seconds: Seconds = None


class PortLink(Response):
    """Whoever has ``url`` reaches the port until ``expires_at``, the links are revoked, or the sandbox ends."""

    url: str
    expires_at: datetime
