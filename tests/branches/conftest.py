"""Branches as a client sees them: the real service, real jails, real kernels."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ..conftest import Service
from ..faults.caller import Caller
from ..faults.services import running


class Family(Caller):
    """A tenant who forks."""

    def fork(self, sandbox: str, n: int = 1, **body: Any) -> list[str]:
        answer = self.http.post(f"/v1/sandboxes/{sandbox}/fork", json={"n": n, **body})
        assert answer.status_code == 200, answer.text
        assert answer.json()["failures"] == []
        return answer.json()["children"]

    def merge(self, parent: str, winner: str) -> None:
        answer = self.http.post(f"/v1/sandboxes/{parent}/merge_into/{winner}")
        assert answer.status_code == 204, answer.text

    def rewind(self, sandbox: str, turn_id: str) -> str:
        answer = self.http.post(f"/v1/sandboxes/{sandbox}/rewind", json={"turn_id": turn_id})
        assert answer.status_code == 200, answer.text
        return answer.json()["branch"]

    def diff(self, sandbox: str, other: str) -> dict[str, Any]:
        answer = self.http.post(f"/v1/sandboxes/{sandbox}/diff", json={"other": other})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def chat(self, sandbox: str, code: str) -> str:
        """A turn of the direct agent that runs this code; gives the turn's id."""
        with self.turn(sandbox, f"```python\n{code}\n```") as turn:
            events = list(turn)
        assert events[-1]["type"] == "turn-end", events[-1]
        return next(event["data"]["turn_id"] for event in events if event["type"] == "turn-start")

    def notebook(self, sandbox: str) -> dict[str, Any]:
        answer = self.http.get(f"/v1/sandboxes/{sandbox}/notebook.ipynb")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def sources(self, sandbox: str) -> list[str]:
        """The cells of its notebook, as text."""
        return ["".join(cell["source"]) for cell in self.notebook(sandbox)["cells"]]

    def says(self, sandbox: str, code: str) -> str:
        """What this code prints."""
        ran = self.run(sandbox, code)
        assert ran.exit["data"] == 0, ran.events
        return ran.text()

    @contextmanager
    def line(self, **body: Any) -> Iterator[str]:
        """A sandbox for a while, and all of its branches with it."""
        before = self.live()
        made = self.create(**body)
        try:
            yield made
        finally:
            for sandbox in self.live() - before:
                assert self.http.delete(f"/v1/sandboxes/{sandbox}").status_code in (204, 410)

    def live(self) -> set[str]:
        found, cursor = set(), None
        while True:
            page = self.http.get("/v1/sandboxes", params={"limit": 100, **({"cursor": cursor} if cursor else {})})
            found |= {each["id"] for each in page.json()["sandboxes"]}
            cursor = page.json().get("next_cursor")
            if cursor is None:
                return found


@pytest.fixture(scope="session")
def branching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("branching")) as service:
        yield service


@pytest.fixture
def family(branching: Service) -> Iterator[Family]:
    with Family(branching) as family:
        yield family
