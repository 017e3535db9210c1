"""What a sandbox session of the Agents SDK is made with, and what of it can be written down and resumed.

Neither holds a key or a host: those are the client's, so that a stored state gives nobody access.
"""

from __future__ import annotations

from typing import Literal

from agents.sandbox.session import SandboxSessionState
from agents.sandbox.session.sandbox_client import BaseSandboxClientOptions
from pydantic import Field

TYPE: Literal["podflare"] = "podflare"
WORKSPACE = "/workspace"
"""The workspace of every podflare sandbox: the SDK's manifest has no other root here."""


class PodflareSandboxClientOptions(BaseSandboxClientOptions):
    """What a sandbox is made with, as the arguments of AsyncSandbox.

    ``keep_open``: leave the sandbox alone when the session shuts down, so that its state can be resumed; it ends at
    its idle timeout.
    """

    type: Literal["podflare"] = TYPE
    template: str | None = None
    timeout_seconds: int | None = None
    idle_timeout_seconds: int | None = None
    ram_mib: int | None = None
    rootfs_gb: int | None = None
    egress: bool | dict[str, list[str]] | None = None
    labels: dict[str, str] | None = None
    keep_open: bool = False


class PodflareSandboxSessionState(SandboxSessionState):
    """A session as it is stored: which sandbox, and with what another one is made when that one has ended."""

    type: Literal["podflare"] = TYPE
    sandbox_id: str
    options: PodflareSandboxClientOptions = Field(default_factory=PodflareSandboxClientOptions)
