"""Waiting for the end of a sandbox that something else ends, such as the collector's thread."""

import asyncio
from typing import Any

from podflare_nb.client import AsyncSandbox, GoneError


async def until_gone(sandbox_id: str, service: Any) -> None:
    """Return once the sandbox has ended; fails after a minute."""
    async with asyncio.timeout(60):
        while True:
            try:
                await AsyncSandbox.connect(sandbox_id, host=service.url, api_key=service.key)
            except GoneError:
                return
