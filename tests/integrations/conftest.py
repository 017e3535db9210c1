"""What the adapters' tests share: sandboxes of the real service, a service of faults, and providers from a script."""

import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from podflare_nb.client import AsyncClient, AsyncSandbox, Sandbox
from tests.provider_servers import ProviderServer, provider_in_thread

sys.path.append(str(Path(__file__).parents[1] / "client"))

from stand_in_service import StandInService  # found by the line above


@pytest.fixture
def stand_in() -> Iterator[StandInService]:
    with StandInService() as service:
        yield service


@pytest.fixture(scope="module")
def sandbox(service: Any) -> Iterator[Sandbox]:
    """One for a whole module: tests use names of their own."""
    with Sandbox(host=service.url, api_key=service.key) as sandbox:
        yield sandbox


@pytest.fixture
async def async_sandbox(service: Any, sandbox: Sandbox) -> AsyncIterator[AsyncSandbox]:
    """The module's sandbox, from an event loop."""
    async with AsyncClient(service.url, service.key) as client:
        yield await AsyncSandbox.connect(sandbox.id, client=client)


@pytest.fixture
async def provider() -> AsyncIterator[ProviderServer]:
    """For asynchronous tests."""
    server = ProviderServer()
    yield server
    await server.close()


@pytest.fixture
def blocking_provider() -> Iterator[ProviderServer]:
    """For tests whose client blocks."""
    with provider_in_thread() as server:
        yield server


@pytest.fixture
def service_in_environment(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a reader of the documentation has it: host and key come from the environment."""
    for name in list(os.environ):
        if name.startswith(("PODFLARE_", "ANTHROPIC_", "OPENAI_", "GEMINI_", "GOOGLE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PODFLARE_NB_URL", service.url)
    monkeypatch.setenv("PODFLARE_NB_API_KEY", service.key)
