"""podflare_nb: a notebook service with isolated, forkable kernels, and a chat whose every turn is notebook cells.

This module is what ``import podflare_nb`` and jupyter_server's search for extensions cost: it loads nothing else
until something is asked for.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

__all__ = ["AsyncSandbox", "Sandbox", "__version__"]


def __getattr__(name: str) -> Any:
    """Load the client when it is first named: the server must not pay for it, nor the client for the server."""
    if name in {"Sandbox", "AsyncSandbox"}:
        from . import client  # noqa: PLC0415 - the laziness is the point

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """Tell jupyter_server where our extension is (it calls this only when the extension is enabled)."""
    from .app import PodflareApp  # noqa: PLC0415 - importing the package must stay light

    return [{"module": "podflare_nb.app", "app": PodflareApp}]
