"""How many sandboxes a tenant may have at once. Pure bookkeeping: whoever makes one takes its place beforehand.

A place is taken before the kernel is asked for and given back at the sandbox's end, so that parallel creates cannot
pass the limit together.
"""

from ..errors import QuotaExceededError

RETRY_AFTER_SECONDS = 5


class Places:
    """Places taken, by tenant."""

    def __init__(self, max_per_tenant: int) -> None:
        self._max = max_per_tenant
        self._taken: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Places taken={sum(self._taken.values())} max_per_tenant={self._max}>"

    def take(self, tenant_id: str) -> None:
        """Take a place. Raises QuotaExceededError when there is none."""
        taken = self._taken.get(tenant_id, 0)
        if taken >= self._max:
            raise QuotaExceededError(
                f"{taken} of {self._max} sandboxes are live. Close one, or wait until one has ended.",
                limit=self._max,
                retry_after=RETRY_AFTER_SECONDS,
            )
        self._taken[tenant_id] = taken + 1

    def give_back(self, tenant_id: str) -> None:
        """Give a place back; once for each ``take``."""
        taken = self._taken[tenant_id] - 1
        if taken:
            self._taken[tenant_id] = taken
        else:
            del self._taken[tenant_id]

    def taken(self, tenant_id: str) -> int:
        """How many a tenant has."""
        return self._taken.get(tenant_id, 0)
