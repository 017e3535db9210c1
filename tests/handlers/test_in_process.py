"""A request of httpx, handled by an application of Tornado in the same process."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from jupyter_server.base.call_context import CallContext
from tornado import web
from tornado.iostream import StreamClosedError

from podflare_nb.handlers.in_process import InProcessTransport

SECONDS = 60.0


def client_of(handler: type[web.RequestHandler], **given: Any) -> httpx.AsyncClient:
    application = web.Application([(r"/(.*)", handler, given)])
    return httpx.AsyncClient(transport=InProcessTransport(application), base_url="http://127.0.0.1")


@web.stream_request_body
class Echo(web.RequestHandler):
    def initialize(self) -> None:
        self.body = b""

    async def data_received(self, chunk: bytes) -> None:
        self.body += chunk

    def put(self, path: str) -> None:
        self.set_status(201)
        self.write(
            {
                "path": path,
                "asked": self.get_query_argument("a"),
                "host": self.request.host,
                "key": self.request.headers["Authorization"],
                "body": self.body.decode(),
            }
        )


async def test_method_path_headers_and_body_arrive_as_over_a_socket():
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async with client_of(Echo) as client:
        answer = await client.put("/x/y%2Fz?a=1", content=pieces(), headers={"Authorization": "Bearer k"})
    assert answer.status_code == 201
    assert answer.json() == {
        "path": "x/y/z", "asked": "1", "host": "127.0.0.1", "key": "Bearer k", "body": "one two",
    }  # fmt: skip


class Endless(web.RequestHandler):
    """Sends for as long as somebody reads; tells what became of it."""

    def initialize(self, sent: list[int], gone: asyncio.Event) -> None:
        self.sent, self.gone = sent, gone

    async def get(self, _path: str) -> None:
        while True:
            self.write(b"x" * 1000)
            self.sent.append(1000)
            await self.flush()

    def on_connection_close(self) -> None:
        self.gone.set()

    def log_exception(self, kind: Any, error: Any, trace: Any) -> None:
        if not isinstance(error, StreamClosedError):
            super().log_exception(kind, error, trace)


async def test_a_handler_waits_for_a_reader_and_learns_that_it_left():
    sent, gone = [], asyncio.Event()
    async with client_of(Endless, sent=sent, gone=gone) as client:
        async with client.stream("GET", "/") as answer:
            pieces = answer.aiter_raw()
            for _ in range(5):
                assert set(await asyncio.wait_for(anext(pieces), SECONDS)) == set(b"x")
            # One piece has been sent ahead of the reader, not more, however long it takes.
            ahead = len(sent)
            for _ in range(100):
                await asyncio.sleep(0)
            assert len(sent) <= ahead + 1 <= 8
            assert not gone.is_set()
        await asyncio.wait_for(gone.wait(), SECONDS)


class Silent(web.RequestHandler):
    def initialize(self, began: asyncio.Event, gone: asyncio.Event) -> None:
        self.began, self.gone = began, gone

    async def get(self, _path: str) -> None:
        self.began.set()
        await self.gone.wait()

    def on_connection_close(self) -> None:
        self.gone.set()


async def test_a_request_that_is_cancelled_before_its_answer_is_given_up():
    began, gone = asyncio.Event(), asyncio.Event()
    async with client_of(Silent, began=began, gone=gone) as client:
        asking = asyncio.create_task(client.get("/"))
        await asyncio.wait_for(began.wait(), SECONDS)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert gone.is_set()


class Failing(web.RequestHandler):
    def get(self, path: str) -> None:
        if path == "raise":
            raise ZeroDivisionError
        self.redirect("/elsewhere") if path == "away" else self.set_status(204)

    def log_exception(self, *_: Any) -> None:
        """Keep the test's output clean."""


@pytest.mark.parametrize(("path", "status"), [("raise", 500), ("away", 302), ("nothing", 204)])
async def test_answers_without_a_body_and_faults_end(path: str, status: int):
    async with client_of(Failing) as client:
        assert (await asyncio.wait_for(client.get(f"/{path}"), SECONDS)).status_code == status


class Noting(web.RequestHandler):
    def initialize(self, check: Callable[[], object]) -> None:
        self.check = check

    def get(self, _path: str) -> None:
        CallContext.set("inner", "seen")
        self.check()


async def test_what_a_handler_notes_of_its_request_is_not_the_callers():
    CallContext.set("outer", "mine")
    async with client_of(Noting, check=lambda: None) as client:
        await client.get("/")
    assert CallContext.get("outer") == "mine"
    assert CallContext.get("inner") is None
