"""schemathesis against the running service: no fault of the service, and no answer that the document does not have.

Every call of the document is made, with real ids in most requests, so that they get beyond 404. What ends or changes a
sandbox gets one of its own. PODFLARE_NB_FUZZ_EXAMPLES makes it look longer.
"""

import json
import os

import httpx
import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, settings
from schemathesis import Case, GenerationMode, checks
from schemathesis.core import NOT_SET

from podflare_nb.protocol.openapi import document

from .conftest import client_of, new_key

EXAMPLES = int(os.environ.get("PODFLARE_NB_FUZZ_EXAMPLES", "3"))
SECONDS = 60
DOCUMENT = document("test")
ENDING = {"closeSandbox", "mergeInto", "rewind", "fork"}
"""Calls that get a sandbox of their own, or make more."""
MAY_REFUSE = {
    "createSandbox": "egress and persistent are not to be had; times and sizes depend on the template",
    "updateSandbox": "an empty change; a lifetime that is over",
    "listSandboxes": "a cursor that no list gave",
    "chat": "a model that is not there; a message of white space",
    "followTurn": "a seq that the turn has not reached; a form that cannot be taken up",
    "getFile": "a path that no file can have",
    "headFile": "a path that no file can have",
    "putFile": "a path that no file can have",
    "deleteFile": "a directory that is not empty; the workspace itself",
    "createTerminal": "shellCmd and argv together",
    "sendTerminalInput": "what is no base64",
    "readTerminal": "a seq that the terminal has not reached",
    "attachTerminal": "a seq that the terminal has not reached",
    "rewind": "no such turn",
    "diff": "itself",
}
"""Where a request that fits its schema may still be a 400, and why."""

schema = schemathesis.openapi.from_dict(DOCUMENT)
schema.config.generation.update(modes=list(GenerationMode))
schema.config.checks.negative_data_rejection.expected_statuses = ["4xx"]
LINES = {
    name: jsonschema_rs.validator_for(
        {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]},
    )
    for name in ("ExecEvent", "ChatEvent", "TerminalEvent")
}


class World:
    """A tenant with a sandbox that has all that a path may name."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        self.sandbox = self.spare = self.new()
        turn = http.post(f"/v1/sandboxes/{self.sandbox}/chat", json={"message": "6 * 7", "model": "direct"})
        http.put(f"/v1/sandboxes/{self.sandbox}/files/a.txt", content=b"a")
        terminal = http.post(f"/v1/sandboxes/{self.sandbox}/pty", json={"shellCmd": "true"})
        self.ids = {
            "turn_id": turn.headers["X-Turn-Id"],
            "pty_id": json.loads(terminal.text.splitlines()[0])["session_id"],
            "winner_id": self.sandbox,
            "path": "a.txt",
            "port": 8000,
        }

    def new(self) -> str:
        made = self.http.post("/v1/sandboxes", json={"template": "python-minimal"})
        assert made.status_code == 200, made.text
        return made.json()["id"]

    def live(self) -> set[str]:
        return {each["id"] for each in self.http.get("/v1/sandboxes", params={"limit": 200}).json()["sandboxes"]}

    def expendable(self) -> str:
        """A sandbox that may be ended: the one of before, if it still lives."""
        if self.spare == self.sandbox or self.http.get(f"/v1/sandboxes/{self.spare}").json().get("state") != "ready":
            self.spare = self.new()
        return self.spare

    def tidy(self, *keep: str) -> None:
        for name in self.live() - set(keep):
            self.http.delete(f"/v1/sandboxes/{name}")


@pytest.fixture(scope="module")
def world(service):
    with client_of(service, new_key(service, "fuzz", "--max-sandboxes", "8", "--max-memory-mib", "20000")) as http:
        made = World(http)
        yield made
        made.tidy()


def is_negative(case: Case, place: str) -> bool:
    components = case.meta.components if case.meta else {}
    return any(where.value == place and part.mode.is_negative for where, part in components.items())


def fill(case: Case, world: World, sandbox: str) -> None:
    """Put real ids where the request would only be a 404, in three of four."""
    if is_negative(case, "path") or not case.path_parameters:
        return
    if sum(map(len, map(str, case.path_parameters.values()))) % 4 != 1:
        known = {**world.ids, "sandbox_id": sandbox}
        case.path_parameters = {name: known[name] for name in case.path_parameters}


def bound(case: Case) -> None:
    """Leave out what would make a correct call last: a shell that waits for input, a long poll, code of an hour."""
    name = case.operation.definition.raw["operationId"]
    if name == "createTerminal" and not isinstance(case.body, dict):
        assume(not is_negative(case, "body") or case.body is not NOT_SET)
        if is_negative(case, "body"):
            return
        case.body, case.media_type = {}, "application/json"  # no body is a login shell, too
    if not isinstance(case.body, dict) or is_negative(case, "body"):
        return
    # JSON Schema calls 5.0 an integer; this service does not, and no client writes it so.
    body = {
        key: int(value) if isinstance(value, float) and value.is_integer() else value
        for key, value in case.body.items()
    }
    case.body = body
    if name == "createTerminal" and not body.get("argv"):
        case.body = {**body, "shellCmd": "true"}
    if name == "readTerminal":
        case.body = {**body, "timeout_ms": 0}


def lines_conform(_ctx, response, case: Case) -> None:
    """Each line of a stream is one of its events."""
    media = response.headers.get("content-type", [""])[0]
    if response.status_code != 200 or media != "application/x-ndjson":
        return
    answers = case.operation.definition.raw["responses"]["200"]["content"]
    name = answers[media]["schema"]["$ref"].rpartition("/")[2]
    for line in response.content.splitlines():
        errors = [error.message for error in LINES[name].iter_errors(json.loads(line))]
        assert not errors, f"{line!r} is no {name}: {errors}"


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_documented_and_no_request_is_a_fault(case, world):
    name = case.operation.definition.raw["operationId"]
    sandbox = world.expendable() if name in ENDING else world.sandbox
    fill(case, world, sandbox)
    bound(case)
    excluded = [checks.CHECKS.get_one("positive_data_acceptance")] if name in MAY_REFUSE else []
    try:
        case.call_and_validate(
            base_url=str(world.http.base_url).rstrip("/"),
            headers={"Authorization": world.http.headers["Authorization"]},
            timeout=SECONDS,
            excluded_checks=excluded,
            additional_checks=[lines_conform],
        )
    finally:
        if name in ENDING | {"createSandbox"}:
            world.tidy(world.sandbox, world.spare)
