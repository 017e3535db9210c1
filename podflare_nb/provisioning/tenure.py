"""A kernel's time as the kernel of a sandbox, linked to the next one's: whoever follows a sandbox misses none.

Kept by the sandbox's keeper; followed by those who are attached to it. Two kernels may die between two looks at "the
kernel that it has now"; along these links each is met.
"""

from __future__ import annotations

import asyncio

from .handle import KernelHandle


class Tenure:
    """``handle``: the kernel. To be made on the event loop."""

    def __init__(self, handle: KernelHandle) -> None:
        self.handle = handle
        self._next: asyncio.Future[Tenure | None] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        return f"<Tenure {self.handle!r} {'over' if self._next.done() else 'now'}>"

    def pass_to(self, successor: Tenure | None) -> None:
        """Another kernel is in its place now; None: there will be no other. Only the first call counts."""
        if not self._next.done():
            self._next.set_result(successor)

    async def successor(self) -> Tenure | None:
        """Wait for the next kernel's tenure; None when there will be none."""
        return await asyncio.shield(self._next)
