"""How the chat's tests talk with the service: send a message, follow its turn, read the notebook."""

import asyncio
from typing import Any

from stand_in_sandbox import StandInSandbox

from podflare_nb.chat.events import ChatEvent
from podflare_nb.chat.limits import TurnRequest
from podflare_nb.chat.service import ChatService
from podflare_nb.chat.turn import Turn
from podflare_nb.transcripts import Transcript

BOUND = 60
"""Seconds that any wait may take before the test fails."""


class Chat:
    """The service with one sandbox: sends a message, follows its turn to the end."""

    def __init__(self, service: ChatService, sandbox: StandInSandbox, transcript: Transcript) -> None:
        self.service = service
        self.sandbox = sandbox
        self.transcript = transcript

    def start(self, message: str, **options: Any) -> Turn:
        return self.service.start(self.sandbox, self.transcript, TurnRequest(message, **options), "ada")

    async def send(self, message: str, **options: Any) -> list[ChatEvent]:
        return await everything(self.start(message, **options))

    async def cells(self) -> list[dict[str, Any]]:
        return (await self.transcript.notebook())["cells"]

    async def sources(self) -> list[tuple[str, str]]:
        return [(cell["cell_type"], "".join(cell["source"])) for cell in await self.cells()]


async def everything(turn: Turn, after: int = -1) -> list[ChatEvent]:
    async with asyncio.timeout(BOUND):
        return [event async for event in turn.events(after)]


async def until(turn: Turn, type_: str) -> ChatEvent:
    """Wait for the first event of that type."""
    async with asyncio.timeout(BOUND):
        async for event in turn.events():
            if event.type == type_:
                return event
    raise AssertionError(f"no {type_} in {turn}")
