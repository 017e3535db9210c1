import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from ..conftest import LOG
from .conftest import assert_refused, client_of, new_key

BODY = {"template": "python-minimal"}


@pytest.fixture(scope="module")
def maker(service):
    """A tenant of its own, whose sandboxes can be counted."""
    with client_of(service, new_key(service, "maker", "--max-sandboxes", "4")) as http:
        yield http


@pytest.fixture(autouse=True)
def _nothing_is_left(maker):
    yield
    for name in live(maker):
        maker.delete(f"/v1/sandboxes/{name}")


def live(http: httpx.Client) -> list[str]:
    return [sandbox["id"] for sandbox in http.get("/v1/sandboxes").json()["sandboxes"]]


def create(http: httpx.Client, key: str, body: dict = BODY) -> httpx.Response:
    return http.post("/v1/sandboxes", json=body, headers={"Idempotency-Key": key})


def test_a_create_that_is_sent_again_makes_nothing_and_gets_the_same_answer(maker):
    first, again = create(maker, "same"), create(maker, "same")
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.content == first.content
    assert (first.headers.get("Idempotency-Replayed"), again.headers["Idempotency-Replayed"]) == (None, "true")
    assert again.headers["Content-Type"] == first.headers["Content-Type"]
    assert live(maker) == [first.json()["id"]]


def test_creates_at_once_with_one_key_make_one_sandbox(maker):
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: create(maker, "at-once"), range(6)))
    assert {answer.status_code for answer in answers} == {200}
    assert sorted(answer.headers.get("Idempotency-Replayed", "first") for answer in answers) == ["first"] + ["true"] * 5
    assert live(maker) == [answers[0].json()["id"]]


def test_a_key_that_was_sent_with_another_request_is_a_conflict(maker):
    first = create(maker, "taken")
    assert_refused(create(maker, "taken", {**BODY, "labels": {"a": "b"}}), 409, "conflict", "'taken'", "new key")
    fork = maker.post(f"/v1/sandboxes/{first.json()['id']}/fork", json=BODY, headers={"Idempotency-Key": "taken"})
    assert_refused(fork, 400, "invalid_argument", "template")
    fork = maker.post(f"/v1/sandboxes/{first.json()['id']}/fork", json={}, headers={"Idempotency-Key": "taken"})
    assert_refused(fork, 409, "conflict", "'taken'")


def test_a_key_of_another_tenant_is_another_key(maker, http):
    mine, other = create(maker, "shared"), create(http, "shared")
    assert mine.json()["id"] != other.json()["id"]
    assert "Idempotency-Replayed" not in other.headers
    http.delete(f"/v1/sandboxes/{other.json()['id']}")


def test_a_refusal_is_not_kept(maker):
    assert_refused(create(maker, "refused", {"template": "no-such"}), 404, "not_found")
    assert_refused(create(maker, "refused", {"timeout_seconds": -1}), 400, "invalid_argument")
    assert create(maker, "refused").status_code == 200
    full = [create(maker, f"full-{number}") for number in range(3)]
    assert_refused(create(maker, "over"), 429, "quota_exceeded")
    maker.delete(f"/v1/sandboxes/{full[0].json()['id']}")
    assert create(maker, "over").status_code == 200


@pytest.mark.parametrize("key", ["", "a b", "a" * 256, "ä".encode()])
def test_a_key_that_is_none_is_refused(maker, key):
    assert_refused(create(maker, key), 400, "invalid_argument", "Idempotency-Key", "255 visible ASCII")
    assert live(maker) == []


def test_a_sandbox_whose_client_went_away_is_there_for_the_retry(service, maker):
    body = json.dumps({**BODY, "labels": {"who": "lost"}}).encode()
    url = httpx.URL(service.url)
    request = (
        f"POST {url.path}/v1/sandboxes HTTP/1.1\r\nHost: {url.netloc.decode()}\r\nIdempotency-Key: lost\r\n"
        f"Authorization: {maker.headers['Authorization']}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((url.host, url.port), timeout=30) as connection:
        connection.sendall(request.encode() + body)
    again = maker.post("/v1/sandboxes", content=body, headers={"Idempotency-Key": "lost"})
    assert again.status_code == 200
    assert live(maker) == [again.json()["id"]]
    assert "StreamClosedError" not in (service.data_dir / LOG).read_text(), "who goes away is no fault of ours"


def send_and_leave(service, maker, path, **body):
    """Send a request without a key and hang up before the answer, which can be quicker: again then.

    How many sandboxes there had been before.
    """
    content, url = json.dumps(body).encode(), httpx.URL(service.url)
    request = (
        f"POST {url.path}{path} HTTP/1.1\r\nHost: {url.netloc.decode()}\r\n"
        f"Authorization: {maker.headers['Authorization']}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    for _ in range(20):
        alive, ever = live(maker), all_ever(maker)
        with socket.create_connection((url.host, url.port), timeout=30) as connection:
            connection.sendall(request.encode() + content)
            connection.shutdown(socket.SHUT_WR)
            if not connection.recv(100).startswith(b"HTTP/1.1 200"):
                return len(ever)
        for name in set(live(maker)) - set(alive):
            maker.delete(f"/v1/sandboxes/{name}")
    pytest.fail("every request was answered before its connection was closed, or as if it was not")


def all_ever(http: httpx.Client) -> list[str]:
    page = http.get("/v1/sandboxes", params={"include_closed": "true", "limit": "200"}).json()
    return [sandbox["id"] for sandbox in page["sandboxes"]]


def wait_until_made_and_ended(maker, before, alive):
    """Wait until there has been one that was not there before, and only ``alive`` is left."""
    deadline = time.monotonic() + 30
    while len(all_ever(maker)) == before or live(maker) != [alive]:
        assert time.monotonic() < deadline, live(maker)


def test_what_was_made_without_a_key_for_a_client_that_went_away_is_ended(service, maker):
    parent = create(maker, "parent-of-lost").json()["id"]
    for path, body in ("/v1/sandboxes", BODY), (f"/v1/sandboxes/{parent}/fork", {"n": 2}):
        before = send_and_leave(service, maker, path, **body)
        wait_until_made_and_ended(maker, before, parent)
    assert "StreamClosedError" not in (service.data_dir / LOG).read_text(), "who goes away is no fault of ours"


def test_a_fork_that_is_sent_again_makes_no_more_branches(maker):
    parent = create(maker, "parent").json()["id"]
    forks = [
        maker.post(f"/v1/sandboxes/{parent}/fork", json={"n": 2}, headers={"Idempotency-Key": "fork"}) for _ in range(2)
    ]
    assert forks[0].json() == forks[1].json()
    assert "Idempotency-Replayed" in forks[1].headers
    assert sorted(live(maker)) == sorted([parent, *forks[0].json()["children"]])
