"""Sandboxes over the Model Context Protocol: what an MCP host asks for into calls of the client, and back.

One server for both transports: ``http`` is what the service mounts at ``/podflare/mcp``, ``stdio`` what
``podflare-nb mcp`` runs. It stands on the client and on ``integrations.code_tool``, and on nothing of the service.
The package ``mcp`` is optional and takes a second to import, so the modules here are loaded by ``load``.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

MISSING = "MCP needs the package mcp, which is not installed here: pip install 'podflare_nb[mcp]'."

_OPTIONAL = frozenset({"mcp", "mcp_types"})


def load(name: str) -> ModuleType:
    """Import one of the modules here. Raises ImportError with a sentence when the package mcp is missing."""
    try:
        return import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in _OPTIONAL:
            raise ImportError(MISSING) from error
        raise
