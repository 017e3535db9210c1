"""What the chat's tests share: a real kernel behind a stand-in sandbox, a real transcript, scripted providers."""

import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

sys.path.insert(0, str(Path(__file__).parent))

from chat_harness import Chat  # found by the line above
from stand_in_sandbox import StandInSandbox  # found by the line above

from podflare_nb.chat.limits import TurnLimits  # as above
from podflare_nb.chat.service import ChatService  # as above
from podflare_nb.transcripts import Recorder, Transcript, TranscriptHeader, TranscriptStore
from tests.provider_servers import ProviderServer


@pytest.fixture(scope="session")
def kernel() -> Iterator[KernelManager]:
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    yield manager
    manager.shutdown_kernel(now=True)
    manager.cleanup_resources()


@pytest.fixture
async def transcript(tmp_path: Path) -> AsyncIterator[Transcript]:
    async with TranscriptStore(tmp_path / "transcripts") as store:
        now = datetime.now(UTC)
        yield store.create(TranscriptHeader(StandInSandbox.id, "tenant", "python-datasci", "Data", now))


@pytest.fixture
async def sandbox(kernel: KernelManager, tmp_path: Path, transcript: Transcript) -> AsyncIterator[StandInSandbox]:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    sandbox = StandInSandbox(kernel, workspace, Recorder(transcript))
    await sandbox.open()
    yield sandbox
    await sandbox.close()


@pytest.fixture
async def provider() -> AsyncIterator[ProviderServer]:
    server = ProviderServer()
    yield server
    await server.close()


@pytest.fixture
async def make_chat(sandbox: StandInSandbox, transcript: Transcript) -> AsyncIterator[Any]:
    made: list[ChatService] = []

    def make(env: dict[str, str] | None = None, **limits: Any) -> Chat:
        chosen = {"provider_retries": 0, **limits}
        service = ChatService(env=env or {}, limits=TurnLimits(**chosen))
        made.append(service)
        return Chat(service, sandbox, transcript)

    yield make
    for service in made:
        await service.aclose()


@pytest.fixture
def chat(make_chat: Any) -> Chat:
    """Without any model: the direct agent."""
    return make_chat()
