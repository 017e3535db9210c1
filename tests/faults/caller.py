"""The API as these tests call it: thin, so that what a test says is what goes over the wire."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import httpx

from ..conftest import Service

SECONDS = 60.0
"""How long any single answer may take: far more than it does, far less than for ever."""

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ran:
    """The events of one execution."""

    events: list[Event]

    def text(self, kind: str = "stdout") -> str:
        return "\n".join(event["data"] for event in self.events if event["type"] == kind)

    @property
    def exit(self) -> Event:
        assert self.events[-1]["type"] == "exit", self.events[-3:]
        assert [event["type"] for event in self.events].count("exit") == 1
        return self.events[-1]

    def notice(self, code: str) -> dict[str, Any] | None:
        told = [e["data"] for e in self.events if e["type"] == "notice" and e["data"]["code"] == code]
        return told[0] if told else None


class Stream:
    """An answer of lines that is still coming. ``received`` has every event that the client was given."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.received: list[Event] = []
        self._lines = response.iter_lines()

    def __iter__(self) -> Iterator[Event]:
        for line in self._lines:
            if line:
                self.received.append(json.loads(line))
                yield self.received[-1]

    def until(self, kind: str, count: int = 1) -> Event:
        """Read on to the ``count``-th next event of this kind."""
        for event in self:
            count -= event["type"] == kind
            if not count:
                return event
        raise AssertionError(f"the stream ended without {kind}: {self.received[-3:]}")

    def rest(self) -> list[Event]:
        """Read to the end, or to where the connection broke; gives all events."""
        try:
            for _ in self:
                pass
        except (httpx.RemoteProtocolError, httpx.ReadError):
            pass  # the server is gone: that is what the test is about
        return self.received


class Caller:
    """One tenant of a service."""

    def __init__(self, service: Service, key: str | None = None) -> None:
        self.key = key or service.key
        self.http = httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def create(self, **body: Any) -> str:
        answer = self.http.post("/v1/sandboxes", json={"template": "python-minimal", **body})
        assert answer.status_code == 200, answer.text
        return answer.json()["id"]

    def run(self, sandbox: str, code: str, **body: Any) -> Ran:
        with self.stream(sandbox, code, **body) as stream:
            return Ran(list(stream))

    @contextmanager
    def stream(self, sandbox: str, code: str, **body: Any) -> Iterator[Stream]:
        with self.http.stream("POST", f"/v1/sandboxes/{sandbox}/exec", json={"code": code, **body}) as response:
            if response.status_code != 200:
                raise AssertionError(f"{response.status_code} {response.read().decode()}")
            yield Stream(response)

    @contextmanager
    def turn(self, sandbox: str, message: str) -> Iterator[Stream]:
        body = {"message": message, "model": "direct"}
        with self.http.stream("POST", f"/v1/sandboxes/{sandbox}/chat", json=body) as response:
            if response.status_code != 200:
                raise AssertionError(f"{response.status_code} {response.read().decode()}")
            yield Stream(response)

    def close(self, sandbox: str) -> None:
        answer = self.http.delete(f"/v1/sandboxes/{sandbox}")
        assert answer.status_code == 204, answer.text

    @contextmanager
    def sandbox(self, **body: Any) -> Iterator[str]:
        """A sandbox for a while. One that the test has ended itself is not closed again."""
        made = self.create(**body)
        yield made
        assert self.http.delete(f"/v1/sandboxes/{made}").status_code in (204, 410)
