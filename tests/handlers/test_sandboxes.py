from datetime import datetime, timedelta

import pytest

from .conftest import assert_refused, client_of, new_key


def test_a_created_sandbox_tells_what_it_is_and_may_use(http):
    asked = {
        "template": "python-minimal", "timeout_seconds": 600, "idle_timeout_seconds": 60, "ram_mib": 256,
        "rootfs_gb": 1, "labels": {"purpose": "a test"}, "egress": False, "persistent": False, "env": {"A": "1"},
    }  # fmt: skip
    made = http.post("/v1/sandboxes", json=asked).json()
    try:
        assert made["id"].startswith("sbx_")
        assert len(made["id"]) == 36
        assert (made["state"], made["template"], made["labels"]) == ("ready", "python-minimal", {"purpose": "a test"})
        assert (made["limits"]["memory_mib"], made["limits"]["disk_mib"]) == (256, 1024)
        created, expires = (datetime.fromisoformat(made[name]) for name in ("created_at", "expires_at"))
        assert expires - created == timedelta(seconds=600)
        assert made["end"] is None
        assert http.get(f"/v1/sandboxes/{made['id']}").json() == made
    finally:
        http.delete(f"/v1/sandboxes/{made['id']}")


def test_an_omitted_template_and_default_mean_the_default_one(http):
    default = http.get("/v1/capabilities").json()["default_template"]
    for body in ({}, {"template": "default"}, None):
        made = http.post("/v1/sandboxes", json=body) if body is not None else http.post("/v1/sandboxes")
        assert made.json()["template"] == default
        http.delete(f"/v1/sandboxes/{made.json()['id']}")


def test_a_list_is_newest_first_and_has_every_sandbox_once_over_its_pages(service):
    with client_of(service, new_key(service, "lister")) as http:
        made = [http.post("/v1/sandboxes", json={"template": "python-minimal"}).json()["id"] for _ in range(3)]
        first = http.get("/v1/sandboxes", params={"limit": 2}).json()
        second = http.get("/v1/sandboxes", params={"limit": 2, "cursor": first["next_cursor"]}).json()
        assert [sandbox["id"] for sandbox in [*first["sandboxes"], *second["sandboxes"]]] == made[::-1]
        assert second["next_cursor"] is None
        for name in made:
            assert http.delete(f"/v1/sandboxes/{name}").status_code == 204
        assert http.get("/v1/sandboxes").json()["sandboxes"] == []
        closed = http.get("/v1/sandboxes", params={"include_closed": "true"}).json()["sandboxes"]
        assert [sandbox["state"] for sandbox in closed] == ["closed"] * 3


def test_a_patch_changes_times_and_labels_and_nothing_else(http, sandbox):
    before = http.get(f"/v1/sandboxes/{sandbox}").json()
    changes = {"timeout_seconds": 1000, "idle_timeout_seconds": 100, "labels": {"a": "b"}}
    after = http.patch(f"/v1/sandboxes/{sandbox}", json=changes).json()
    assert changes.items() <= after.items()
    assert after["created_at"] == before["created_at"]
    assert http.get(f"/v1/sandboxes/{sandbox}").json() == after


@pytest.mark.parametrize("body", [{}, {"template": "x"}, {"timeout_seconds": 0}, {"labels": 3}])
def test_a_patch_that_is_wrong_changes_nothing(http, sandbox, body):
    before = http.get(f"/v1/sandboxes/{sandbox}").json()
    assert_refused(http.patch(f"/v1/sandboxes/{sandbox}", json=body), 400, "invalid_argument")
    assert http.get(f"/v1/sandboxes/{sandbox}").json() == before


def test_a_closed_sandbox_is_shown_with_its_end(http, sandbox):
    assert http.delete(f"/v1/sandboxes/{sandbox}").status_code == 204
    shown = http.get(f"/v1/sandboxes/{sandbox}").json()
    assert shown["state"] == "closed"
    assert shown["end"]["reason"] == "closed"
    assert datetime.fromisoformat(shown["end"]["at"]) >= datetime.fromisoformat(shown["created_at"])


def test_a_sandbox_that_is_idle_for_its_time_is_gone_with_the_reason(http):
    made = http.post("/v1/sandboxes", json={"template": "python-minimal"}).json()["id"]
    code = (
        "import os, time\nprint('on')\nwhile not os.path.exists('changed'): time.sleep(0.01)\ntime.sleep(1.5); print(1)"
    )
    with http.stream("POST", f"/v1/sandboxes/{made}/exec", json={"code": code}) as run:
        lines = run.iter_lines()
        assert '"data":"on"' in next(lines)
        assert http.patch(f"/v1/sandboxes/{made}", json={"idle_timeout_seconds": 1}).status_code == 200
        assert http.put(f"/v1/sandboxes/{made}/files/changed", content=b"").status_code == 201
        assert '"data":"1"' in next(lines)  # busy is not idle
        assert '"data":0' in list(lines)[-1]
    answer = poll(http, made)
    assert answer["details"]["reason"] == "idle_timeout"


def poll(http, sandbox: str) -> dict:
    """The 410 that comes: each try waits for the server's answer, and the loop ends with the deadline."""
    deadline = datetime.now().astimezone() + timedelta(seconds=60)
    while datetime.now().astimezone() < deadline:
        answer = http.get(f"/v1/sandboxes/{sandbox}/replay")
        if answer.status_code == 410:
            return answer.json()
    raise AssertionError("the sandbox did not end within 60 s")


def test_creates_at_once_get_exactly_as_many_sandboxes_as_the_quota_allows(service):
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only here

    with client_of(service, new_key(service, "small", "--max-sandboxes", "3")) as http, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: http.post("/v1/sandboxes", json={"template": "python-minimal"}), range(8)))
        assert sorted(answer.status_code for answer in answers) == [200] * 3 + [429] * 5
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert_refused(refused, 429, "quota_exceeded", "may have 3 at once")
        assert int(refused.headers["Retry-After"]) > 0
        for answer in answers:
            if answer.status_code == 200:
                http.delete(f"/v1/sandboxes/{answer.json()['id']}")


def test_a_tenants_memory_is_bounded_over_all_its_sandboxes(service):
    with client_of(service, new_key(service, "lean", "--max-memory-mib", "400")) as http:
        first = http.post("/v1/sandboxes", json={"template": "python-minimal", "ram_mib": 256})
        assert first.status_code == 200
        second = http.post("/v1/sandboxes", json={"template": "python-minimal", "ram_mib": 256})
        assert_refused(second, 429, "quota_exceeded", "400 MiB together", "256 MiB are taken")
        http.delete(f"/v1/sandboxes/{first.json()['id']}")
