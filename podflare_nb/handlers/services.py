"""What handlers are given: the built parts of the service in one frozen record, or the reason why there is none.

``app`` makes the slot; the services in it start once, either with the server or when somebody first asks for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from ..chat.service import ChatService
from ..errors import NoCapacityError, PodflareError
from ..protocol.responses import LayerInfo
from ..sandboxes.branches import Branches
from ..sandboxes.manager import SandboxManager
from ..sandboxes.settings import SandboxSettings
from ..tenants.key_ring import KeyRing
from ..tenants.quotas import Admissions
from ..transcripts.store import TranscriptStore
from .kept_answers import KeptAnswers

SETTING = "podflare_nb_slot"
"""Where the slot is in the web application's settings."""


@dataclass(frozen=True, slots=True)
class Services:
    """The parts that handlers call. ``template_states``: ready, loading or failed, by template."""

    sandboxes: SandboxManager
    branches: Branches
    settings: SandboxSettings
    admissions: Admissions
    transcripts: TranscriptStore
    chat: ChatService
    kept_answers: KeptAnswers
    template_states: Callable[[], Awaitable[Mapping[str, str]]]
    isolation: str
    layers: Sequence[LayerInfo]


class ServicesSlot:
    """Holds the services while they run. ``ring`` can be asked even when they do not; None: there is no database.

    ``start`` makes the services; it is called once, and what it raises is the answer from then on.
    """

    def __init__(self, ring: KeyRing | None, start: Callable[[], Awaitable[Services]]) -> None:
        self.ring = ring
        self._start = start
        self._services: Services | None = None
        self._starting: asyncio.Task[Services] | None = None
        self._absence: PodflareError | None = None
        self._kept = AsyncExitStack()

    async def get(self) -> Services:
        """Give the services, once they have started. Raises why they cannot be had (503)."""
        if self._services is not None:
            return self._services
        self.check()
        if self._starting is None:
            self._starting = asyncio.create_task(self._run(), name="podflare_nb start")
        # Shielded: a client that does not want to wait longer must not end the start for everybody else.
        return await asyncio.shield(self._starting)

    def check(self) -> None:
        """Raise why the services cannot be had, if that is known already."""
        if self._absence is not None:
            raise type(self._absence)(self._absence.message, **self._absence.details)

    def refuse(self, absence: PodflareError) -> None:
        """Answer everything with this error from now on."""
        self._absence = absence
        self._services = None

    def keep(self, end: Callable[[], Awaitable[None]]) -> None:
        """Take note of what handlers keep from one request to the next: ``end`` is called before the services end."""
        self._kept.push_async_callback(end)

    async def close(self) -> None:
        """End what handlers kept, refuse new requests; a start that is under way is ended. Idempotent."""
        await self._kept.aclose()
        self.refuse(NoCapacityError("The service is ending."))
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)

    async def _run(self) -> Services:
        try:
            self._services = await self._start()
        except PodflareError as error:
            self.refuse(error)
            raise
        return self._services

    def __repr__(self) -> str:
        state = "refused" if self._absence else "started" if self._services else "not started"
        return f"<ServicesSlot {state}>"
