"""The service's MCP endpoint by the official client, and by plain HTTP for what that client would never send."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, redirect_stdout
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, Implementation

from podflare_nb import cli

from ..conftest import Service, command

SECONDS = 60.0
INFO = Implementation(name="a host", version="1.2")
STDIO = command("mcp")
"""How hosts start a session on this machine."""

ACCEPT = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


@asynccontextmanager
async def connected(service: Service, key: str | None = None, mode: str = "auto") -> AsyncIterator[Client]:
    """A session of the official client; leaving it ends the session."""
    headers = {"Authorization": f"Bearer {key or service.key}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=SECONDS) as http,
        Client(streamable_http_client(f"{service.url}/mcp", http_client=http), mode=mode, client_info=INFO) as client,
    ):
        yield client


async def run(client: Client, code: str, **more: Any) -> CallToolResult:
    return await asyncio.wait_for(client.call_tool("run_python", {"code": code, **more}), SECONDS)


async def ran(client: Client, tool: str, **arguments: Any) -> CallToolResult:
    """The answer of a call that must go well."""
    answer = await asyncio.wait_for(client.call_tool(tool, arguments), SECONDS)
    assert not answer.is_error, answer.content
    return answer


def text_of(answer: CallToolResult) -> str:
    return answer.content[0].text


def sandbox_of(answer: CallToolResult) -> str:
    return answer.meta["podflare-nb/sandbox"]


def keys(service: Service, *arguments: str) -> str:
    """What ``podflare-nb keys`` prints; in this process, since a new one takes a second."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert cli.run(["keys", *arguments, "--data-dir", str(service.data_dir)]) == 0
    return printed.getvalue().strip()


def new_key(service: Service, tenant: str) -> str:
    return keys(service, "create", "a test", "--tenant", tenant)


def initialize(version: str = "2025-11-25") -> dict[str, Any]:
    params = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "raw", "version": "0"}}
    return {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}


def answer_of(response: httpx.Response) -> dict[str, Any]:
    """The JSON-RPC message of an answer that is one event."""
    assert response.status_code == 200, response.text
    return next(json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: "))


@pytest.fixture(scope="session")
def raw(service: Service) -> Iterator[httpx.Client]:
    """The endpoint by plain HTTP, as the local tenant."""
    headers = {"Authorization": f"Bearer {service.key}", **ACCEPT}
    with httpx.Client(headers=headers, timeout=SECONDS) as http:
        yield http


@pytest.fixture
def session(service: Service, raw: httpx.Client) -> Iterator[str]:
    """The id of a session by plain HTTP."""
    response = raw.post(f"{service.url}/mcp", json=initialize())
    assert answer_of(response)["result"]["protocolVersion"] == "2025-11-25"
    session_id = response.headers["Mcp-Session-Id"]
    yield session_id
    raw.delete(f"{service.url}/mcp", headers={"Mcp-Session-Id": session_id})


@pytest.fixture(scope="session")
def state_of(service: Service) -> Callable[[str], str]:
    """Ask the service whether a sandbox lives."""

    def ask(sandbox_id: str) -> str:
        headers = {"Authorization": f"Bearer {service.key}"}
        return httpx.get(f"{service.url}/v1/sandboxes/{sandbox_id}", headers=headers, timeout=SECONDS).json()["state"]

    return ask


@pytest.fixture(scope="session")
def close(service: Service) -> Callable[[str], None]:
    """End a sandbox behind a session's back."""

    def end(sandbox_id: str) -> None:
        headers = {"Authorization": f"Bearer {service.key}"}
        httpx.delete(f"{service.url}/v1/sandboxes/{sandbox_id}", headers=headers, timeout=SECONDS).raise_for_status()

    return end


@pytest.fixture(scope="session")
def stranger_key(service: Service) -> str:
    return new_key(service, "mcp-stranger")
