"""The parts without a service: sessions over HTTP and their bounds, what a session makes, what progress tells."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest

import podflare_nb.mcp
from podflare_nb.client import AsyncClient
from podflare_nb.mcp.http import HttpSessions, Owner
from podflare_nb.mcp.progress import Progress
from podflare_nb.mcp.session import ToolSession

from .conftest import ACCEPT, initialize

SECONDS = 60.0
SANDBOX = "sbx_" + "1" * 32
ME = Owner("tenant", "key")


def connect(answer: Callable[[httpx.Request], Awaitable[httpx.Response]] | None = None) -> AsyncClient:
    """A client of a service that answers as the function does."""

    async def nothing(request: httpx.Request) -> httpx.Response:
        raise AssertionError(request.url)

    return AsyncClient("http://127.0.0.1/podflare", "key", transport=httpx.MockTransport(answer or nothing))


@asynccontextmanager
async def endpoint(sessions: HttpSessions, owner: Owner = ME) -> AsyncIterator[httpx.AsyncClient]:
    async def application(scope, receive, send) -> None:
        await sessions.answer(owner, connect, scope, receive, send)

    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://mcp", headers=ACCEPT) as http:
        yield http


async def begin(http: httpx.AsyncClient) -> str:
    begun = await http.post("/", json=initialize())
    assert begun.status_code == 200, begun.text
    return begun.headers["Mcp-Session-Id"]


async def test_a_tenant_has_so_many_sessions_and_another_tenant_as_many():
    sessions = HttpSessions(most=2)
    async with endpoint(sessions) as mine, endpoint(sessions, Owner("other", "k")) as others:
        first, _ = await begin(mine), await begin(mine)
        refused = await mine.post("/", json=initialize())
        assert refused.status_code == 429
        assert refused.headers["Retry-After"]
        assert "2 MCP sessions are open" in refused.json()["error"]["message"]
        await begin(others)
        assert (await mine.delete("/", headers={"Mcp-Session-Id": first})).status_code == 204
        await begin(mine)
    await sessions.aclose()


async def test_requests_that_begin_no_session_leave_none():
    sessions = HttpSessions()
    async with endpoint(sessions) as http:
        for body in (b"{", b"[]", b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}'):
            assert (await http.post("/", content=body)).status_code == 400
        refused = await http.post("/", json={"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}})
        assert '"code":-32602' in refused.text
        assert repr(sessions) == "<HttpSessions 0>"


async def test_a_session_that_nobody_uses_ends_by_itself():
    sessions = HttpSessions(idle_seconds=0.01)
    async with endpoint(sessions) as http:
        session_id = await begin(http)
        if session := sessions._sessions.get(session_id):
            await asyncio.wait_for(session.serving, SECONDS)
        assert (await http.post("/", json=initialize(), headers={"Mcp-Session-Id": session_id})).status_code == 404


async def test_at_the_services_end_all_sessions_end_and_none_begins():
    sessions = HttpSessions()
    async with endpoint(sessions) as http:
        session_id = await begin(http)
        serving = sessions._sessions[session_id].serving
        await sessions.aclose()
        await sessions.aclose()
        assert serving.done()
        assert (await http.post("/", json=initialize())).status_code == 503
        assert (await http.delete("/", headers={"Mcp-Session-Id": session_id})).status_code == 404


class Service:
    """Makes sandboxes when it is told to; notes what it ended."""

    def __init__(self) -> None:
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()
        self.ended: list[str] = []

    async def answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE":
            self.ended.append(request.url.path.rpartition("/")[2])
            return httpx.Response(204)
        self.asked.set()
        await self.may_answer.wait()
        children = [SANDBOX.replace("1", digit) for digit in "23"]
        return httpx.Response(200, content=json.dumps({"id": SANDBOX, "children": children}))


async def test_what_a_cancelled_call_was_making_ends_with_the_session():
    service = Service()
    session = ToolSession(connect(service.answer))
    making = asyncio.create_task(session.sandbox())
    await asyncio.wait_for(service.asked.wait(), SECONDS)
    making.cancel()
    await asyncio.gather(making, return_exceptions=True)
    closing = asyncio.create_task(session.close())
    service.may_answer.set()
    await asyncio.wait_for(closing, SECONDS)
    assert service.ended == [SANDBOX]


async def test_branches_end_with_the_session_and_kept_sandboxes_do_not():
    service = Service()
    service.may_answer.set()
    session = ToolSession(connect(service.answer))
    sandbox = await session.create(keep=True)
    branches = await session.fork(sandbox, 2)
    await session.close()
    await session.close()
    assert sorted(service.ended) == sorted(branch.id for branch in branches)


async def test_progress_joins_lines_and_the_run_never_waits_for_a_client_that_does_not_read():
    told: list[str] = []
    began, reads = asyncio.Event(), asyncio.Event()

    async def tell(_seconds: float, message: str) -> None:
        told.append(message)
        began.set()
        await reads.wait()

    progress = Progress(tell)
    async with progress.telling():
        progress.line("first")
        await asyncio.wait_for(began.wait(), SECONDS)
        for number in range(10_000):
            progress.line(f"line {number}")
        assert len(progress._lines) == 50
        reads.set()
    assert told[0] == "first"
    assert told[-1].startswith("[...] ")
    assert told[-1].endswith("line 9998\nline 9999")
    assert all(len(message) < 2_100 for message in told)
    assert len(told) == 2


async def test_a_silent_run_tells_that_it_still_runs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("podflare_nb.mcp.progress.SILENCE_SECONDS", 0.001)
    told: list[str] = []
    enough = asyncio.Event()

    async def tell(_seconds: float, message: str) -> None:
        told.append(message)
        enough.set()

    async with Progress(tell).telling():
        await asyncio.wait_for(enough.wait(), SECONDS)
    assert told[0].startswith("Still running")


def test_without_the_package_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in sys.modules if name.startswith(("podflare_nb.mcp.", "mcp.", "mcp_types."))]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("mcp", "mcp_types"):
        monkeypatch.setitem(sys.modules, name, None)
    for module in ("http", "stdio"):
        with pytest.raises(ImportError, match=r"pip install 'podflare_nb\[mcp\]'"):
            podflare_nb.mcp.load(module)
