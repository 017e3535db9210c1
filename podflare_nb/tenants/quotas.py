"""A tenant's quotas: how many sandboxes and how much memory at once, with creates that are under way counted in.

A create is admitted before anything is awaited and counts until it is over, so that parallel creates cannot pass
a limit together. What is live is told by the caller; what is under way is kept here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..errors import QuotaExceededError
from .tenant import Tenant

RETRY_AFTER_SECONDS = 5


def check(tenant: Tenant, memory_mib: Sequence[int], wanted_mib: int) -> None:
    """Refuse one more sandbox of ``wanted_mib`` beside those of ``memory_mib``. Raises QuotaExceededError."""
    if len(memory_mib) >= tenant.max_sandboxes:
        raise QuotaExceededError(
            f"You have {len(memory_mib)} sandboxes and may have {tenant.max_sandboxes} at once. "
            "Close one (DELETE /v1/sandboxes/<id>), or wait until one is idle for long enough.",
            limit=tenant.max_sandboxes,
            retry_after=RETRY_AFTER_SECONDS,
        )
    used = sum(memory_mib)
    if tenant.max_memory_mib is not None and used + wanted_mib > tenant.max_memory_mib:
        raise QuotaExceededError(
            f"Your sandboxes may have {tenant.max_memory_mib} MiB together: {used} MiB are taken and this one asks "
            f"for {wanted_mib} MiB. Close one, or ask for less with ram_mib.",
            limit=tenant.max_memory_mib,
            used=used,
            retry_after=RETRY_AFTER_SECONDS,
        )


class Admissions:
    """Creates under way, by tenant."""

    def __init__(self) -> None:
        self._under_way: dict[str, list[int]] = defaultdict(list)

    @contextmanager
    def admit(self, tenant: Tenant, live_mib: Sequence[int], wanted_mib: int) -> Iterator[None]:
        """Hold a place while a sandbox is made; once it is made it is among the live ones."""
        under_way = self._under_way[tenant.id]
        check(tenant, [*live_mib, *under_way], wanted_mib)
        under_way.append(wanted_mib)
        try:
            yield
        finally:
            under_way.remove(wanted_mib)
            if not under_way:
                del self._under_way[tenant.id]

    def __repr__(self) -> str:
        return f"<Admissions {sum(map(len, self._under_way.values()))} under way>"
