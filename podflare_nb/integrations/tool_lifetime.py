"""How a program holds a tool: its sandbox, what it records, its contexts and its end.

The part that every adapter's tool has besides its framework's own. ``AsyncLifetime`` is for frameworks that only know
event loops; ``Lifetime`` for those that also block, with the asynchronous twin of a method named by an ``a`` in
front. Stands on ``tool_sandbox``.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from .tool_sandbox import ToolSandbox, provenance

if TYPE_CHECKING:
    from podflare_nb.client import AsyncSandbox, Sandbox


class AsyncLifetime:
    """Leaving the last ``async with``, or ``close``, ends the sandbox if it is the tool's own."""

    _held: ToolSandbox
    _operator: ClassVar[str]
    """The framework, as the notebook names who recorded."""

    @property
    def sandbox(self) -> Sandbox | AsyncSandbox | None:
        """The sandbox behind the tool; None while none was needed."""
        return self._held.sandbox

    async def record(self, message: str, role: Literal["assistant", "user"] = "assistant") -> None:
        """Write what was said around the tool, such as an agent's last answer, into the sandbox's notebook."""
        await self._held.record_async(message, role, provenance(operator=self._operator))

    async def close(self) -> None:
        """End the sandbox if it is the tool's own; further calls of the model get a sentence. Idempotent."""
        await asyncio.to_thread(self._held.close)

    async def __aenter__(self) -> Self:
        self._held.enter()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await asyncio.to_thread(self._held.leave)


class Lifetime:
    """Leaving the last ``with`` or ``async with``, or ``close``, ends the sandbox if it is the tool's own."""

    _held: ToolSandbox
    _operator: ClassVar[str]
    """The framework, as the notebook names who recorded."""

    @property
    def sandbox(self) -> Sandbox | AsyncSandbox | None:
        """The sandbox behind the tool; None while none was needed."""
        return self._held.sandbox

    def record(self, message: str, role: Literal["assistant", "user"] = "assistant") -> None:
        """Write what was said around the tool, such as an agent's last answer, into the sandbox's notebook."""
        self._held.record(message, role, provenance(operator=self._operator))

    async def arecord(self, message: str, role: Literal["assistant", "user"] = "assistant") -> None:
        """``record`` on an event loop."""
        await self._held.record_async(message, role, provenance(operator=self._operator))

    def close(self) -> None:
        """End the sandbox if it is the tool's own; further calls of the model get a sentence. Idempotent."""
        self._held.close()

    async def aclose(self) -> None:
        """``close`` on an event loop."""
        await asyncio.to_thread(self._held.close)

    def __enter__(self) -> Self:
        self._held.enter()
        return self

    def __exit__(self, *exception: object) -> None:
        self._held.leave()

    async def __aenter__(self) -> Self:
        self._held.enter()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await asyncio.to_thread(self._held.leave)
