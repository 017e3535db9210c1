"""Where running supervisors listen."""

from __future__ import annotations

from pathlib import Path

SOCKET = "supervisor.sock"


def find_sockets(runtime_base: Path) -> list[str]:
    """Sockets of supervisors of this user, the newest first; whether one still answers, connecting tells."""
    try:
        found = [(path.stat().st_mtime, str(path)) for path in runtime_base.glob(f"s-*/{SOCKET}")]
    except OSError:
        return []
    return [path for _, path in sorted(found, reverse=True)]
