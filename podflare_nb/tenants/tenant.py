"""A tenant: the one who owns sandboxes, and how many at most."""

from __future__ import annotations

from dataclasses import dataclass

LOCAL_TENANT_ID = "local"
"""The tenant of a service for one; also of everyone whom a user's own Jupyter server has let in."""

DEFAULT_MAX_SANDBOXES = 1000


@dataclass(frozen=True, slots=True)
class Tenant:
    """``max_sandboxes`` live at once; ``max_memory_mib`` of their limits together, None: as the machine has."""

    id: str
    name: str
    max_sandboxes: int = DEFAULT_MAX_SANDBOXES
    max_memory_mib: int | None = None
