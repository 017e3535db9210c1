"""The running service by HTTP, as the local tenant and as a stranger."""

import json
import subprocess
from collections.abc import Iterator

import httpx
import pytest

from ..conftest import Service, command

TIMEOUT = 60.0


def client_of(service: Service, key: str | None) -> httpx.Client:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(base_url=service.url, headers=headers, timeout=TIMEOUT)


def new_key(service: Service, tenant: str, *options: str) -> str:
    made = subprocess.run(
        command("keys", "create", "a test", "--tenant", tenant, "--data-dir", str(service.data_dir), *options),
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    return made.stdout.strip()


def revoke_last_key(service: Service) -> None:
    directory = ("--data-dir", str(service.data_dir))
    listed = subprocess.run(command("keys", "list", *directory), check=True, capture_output=True, text=True)
    key_id = listed.stdout.splitlines()[-1].split()[0]
    subprocess.run(command("keys", "revoke", key_id, *directory), check=True, capture_output=True)


def events(response: httpx.Response) -> list[dict]:
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.splitlines()]


def run(http: httpx.Client, sandbox: str, code: str, **more) -> list[dict]:
    return events(http.post(f"/v1/sandboxes/{sandbox}/exec", json={"code": code, **more}))


def stdout(of: list[dict]) -> list[str]:
    return [event["data"] for event in of if event["type"] == "stdout"]


def assert_refused(response: httpx.Response, status: int, code: str, *words: str) -> dict:
    """It answers the status, the code, and a sentence with the words."""
    assert response.status_code == status, response.text
    body = response.json()
    assert body["code"] == code
    for word in words:
        assert word in body["error"], body["error"]
    assert len(body["error"].split()) > 3, "an error is a sentence"
    return body


@pytest.fixture(scope="session")
def http(service: Service) -> Iterator[httpx.Client]:
    with client_of(service, service.key) as client:
        yield client


@pytest.fixture(scope="session")
def stranger(service: Service) -> Iterator[httpx.Client]:
    with client_of(service, new_key(service, "stranger")) as client:
        yield client


@pytest.fixture(scope="session")
def nobody(service: Service) -> Iterator[httpx.Client]:
    with client_of(service, None) as client:
        yield client


@pytest.fixture
def sandbox(http: httpx.Client) -> Iterator[str]:
    made = http.post("/v1/sandboxes", json={"template": "python-minimal"})
    assert made.status_code == 200, made.text
    name = made.json()["id"]
    yield name
    http.delete(f"/v1/sandboxes/{name}")


@pytest.fixture(scope="module")
def shared_sandbox(http: httpx.Client) -> Iterator[str]:
    """For tests that change nothing of it."""
    made = http.post("/v1/sandboxes", json={"template": "python-minimal"})
    assert made.status_code == 200, made.text
    name = made.json()["id"]
    yield name
    http.delete(f"/v1/sandboxes/{name}")
