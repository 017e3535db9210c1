"""The document and the routes are of one mind, and the document is OpenAPI 3.1."""

import json
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
from schemathesis.specs.openapi import definitions
from tornado.web import RequestHandler

from podflare_nb import __version__
from podflare_nb.handlers.routes import ROUTES
from podflare_nb.handlers.statuses import STATUS_OF_CODE
from podflare_nb.protocol.openapi import document
from podflare_nb.protocol.operations import OPERATIONS, REFUSALS
from podflare_nb.protocol.states import ErrorCode

ROOT = Path(__file__).parents[2]
PROXY = r"/podflare/sandboxes/([^/]+)/ports/([^/]+)(?:/.*)?"
NOT_OF_THE_API = {r"/podflare/?", r"/podflare/static/(.*)", r"/podflare/mcp", PROXY, r"/podflare/.*"}
"""The page, its assets, MCP (which describes itself), what sandboxes serve, and whatever there is not."""
NOT_IN_THE_DOCUMENT = {"unreachable", "no_answer"}
"""Codes of the ports' proxy."""
METHODS = ("get", "head", "post", "put", "patch", "delete")
VARIANTS = {
    r"(\.ipynb)?": ["", ".ipynb"],
    r"\.(html|md|py)": [".html", ".md", ".py"],
    "([^/]+)": ["{}"],
    "(.*)": ["{}"],
}


def variants(pattern: str) -> list[str]:
    """Every path that a route stands for, its parameters unnamed."""
    parts = re.split("(" + "|".join(map(re.escape, VARIANTS)) + ")", pattern.removeprefix("/podflare"))
    return ["".join(chosen) for chosen in product(*(VARIANTS.get(part, [part]) for part in parts))]


def routed() -> set[tuple[str, str]]:
    return {
        (method, path)
        for pattern, handler, *_ in ROUTES
        if pattern not in NOT_OF_THE_API
        for path in variants(pattern)
        for method in METHODS
        if getattr(handler, method) is not RequestHandler._unimplemented_method
    }


def test_every_route_is_documented_and_everything_documented_is_a_route():
    documented = {
        (method, re.sub("{[^}]+}", "{}", path))
        for path, operations in document(__version__)["paths"].items()
        for method in operations
    }
    assert documented == routed()


def test_the_document_is_openapi():
    errors = [
        (list(error.instance_path), error.message)
        for error in definitions.OPENAPI_31_VALIDATOR.iter_errors(document(__version__))
    ]
    assert errors == []


def test_every_reference_leads_somewhere_and_every_schema_is_used():
    written = document(__version__)
    references = set(re.findall(r'"#/([^"]+)"', json.dumps(written)))
    schemas = {f"components/schemas/{name}" for name in written["components"]["schemas"]}
    responses = {f"components/responses/{name}" for name in written["components"]["responses"]}
    assert references == schemas | responses


def test_every_call_has_a_name_of_its_own():
    names = [operation.name for operation in OPERATIONS]
    assert len(names) == len(set(names))


def test_errors_are_documented_with_the_statuses_that_they_have():
    assert set(ErrorCode.__args__) == set(STATUS_OF_CODE) - NOT_IN_THE_DOCUMENT
    assert {STATUS_OF_CODE[code] for code in ErrorCode.__args__} - {405} == set(REFUSALS)


def test_the_committed_document_is_current():
    script = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "generate_openapi.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (script.stdout, script.returncode) == ("", 0)


def test_the_service_serves_the_document(http):
    answer = http.get("/v1/openapi.json")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == document(__version__)
    assert http.get("/v1/openapi.json", headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/v1/sandboxes", {"GET", "POST", "OPTIONS"}),
        ("/v1/sandboxes/x/files", {"GET", "HEAD", "OPTIONS"}),
        ("/v1/sandboxes/x/files/a", {"GET", "HEAD", "PUT", "DELETE", "OPTIONS"}),
        ("/v1/sandboxes/x/exec", {"POST", "OPTIONS"}),
    ],
)
def test_a_method_that_a_url_has_not_is_told_which_it_has(http, path, methods):
    for method in ("PATCH", "TRACE"):
        answer = http.request(method, path)
        assert answer.status_code == 405
        assert set(answer.headers["Allow"].split(", ")) == methods
