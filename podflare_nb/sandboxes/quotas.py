"""How many sandboxes a tenant may have at once. Pure bookkeeping: whoever makes one takes its place beforehand.

A place is taken before the kernel is asked for and given back at the sandbox's end, so that parallel creates cannot
pass the limit together.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..errors import QuotaExceededError

RETRY_AFTER_SECONDS = 5


@dataclass(slots=True)
class Hold:
    """Places that were taken for sandboxes which are still to be made; ``left`` is counted down with each."""

    left: int


class Places:
    """Places taken, by tenant."""

    def __init__(self, max_per_tenant: int) -> None:
        self._max = max_per_tenant
        self._taken: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Places taken={sum(self._taken.values())} max_per_tenant={self._max}>"

    def take(self, tenant_id: str, count: int = 1) -> None:
        """Take places, all or none. Raises QuotaExceededError when there are too few."""
        taken = self._taken.get(tenant_id, 0)
        if taken + count > self._max:
            wanted = "" if count == 1 else f", {count} more are too many"
            raise QuotaExceededError(
                f"{taken} of {self._max} sandboxes are live{wanted}. Close one, or wait until one has ended.",
                limit=self._max,
                retry_after=RETRY_AFTER_SECONDS,
            )
        self._taken[tenant_id] = taken + count

    def give_back(self, tenant_id: str, count: int = 1) -> None:
        """Give places back; once for each that was taken."""
        if not count:
            return
        taken = self._taken[tenant_id] - count
        if taken:
            self._taken[tenant_id] = taken
        else:
            del self._taken[tenant_id]

    @contextmanager
    def hold(self, tenant_id: str, count: int) -> Iterator[Hold]:
        """Take places for a while; those that are left at the end are given back. Raises QuotaExceededError."""
        self.take(tenant_id, count)
        hold = Hold(count)
        try:
            yield hold
        finally:
            self.give_back(tenant_id, hold.left)

    def taken(self, tenant_id: str) -> int:
        """How many a tenant has."""
        return self._taken.get(tenant_id, 0)
