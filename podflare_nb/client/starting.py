"""When the making of a sandbox happens: the one place where the two clients differ in kind.

``Sandbox(...)`` is there when its constructor returns. A constructor cannot await, so ``AsyncSandbox(...)`` is
there after ``await`` or ``async with``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Generator


class StartsWhenAwaited:
    """For the asynchronous client: ``await`` starts."""

    async def start(self) -> Self:
        """Make it; defined by the class that has something to make."""
        return self

    def _begin(self) -> None:
        """Do nothing yet: the constructor of the asynchronous client cannot wait."""

    def __await__(self) -> Generator[Any, None, Self]:
        return self.start().__await__()


class StartsAtOnce:
    """For the synchronous client: the constructor starts."""

    def start(self) -> Self:
        """Make it; defined by the class that has something to make."""
        return self

    def _begin(self) -> None:
        self.start()
