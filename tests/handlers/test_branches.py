"""Branches by HTTP: what is asked, what is answered. What a fork has and a merge does is ``tests/branches``'."""

import pytest

from .conftest import assert_refused, client_of, new_key, run, stdout

BAD_N = [0, -1, 33, 1.5, "5", None, True, [1]]
BAD = [
    ("fork", {"wait_seconds": -1}, ["wait_seconds is -1", "from 0 to 600"]),
    ("fork", {"wait_seconds": "5"}, ["wait_seconds is '5'"]),
    ("fork", {"strict": 1}, ["strict is 1"]),
    ("fork", {"m": 1}, ["no field 'm'"]),
    ("diff", {}, ["other is missing"]),
    ("diff", {"other": 7}, ["other is 7"]),
    ("rewind", {}, ["turn_id is missing"]),
    ("rewind", {"turn_id": ""}, ["turn_id is ''"]),
]


@pytest.fixture
def family(http, sandbox):
    """A sandbox and a branch of it."""
    answer = http.post(f"/v1/sandboxes/{sandbox}/fork")
    assert answer.status_code == 200, answer.text
    (child,) = answer.json()["children"]
    yield sandbox, child
    http.delete(f"/v1/sandboxes/{child}")


@pytest.mark.parametrize("n", BAD_N)
def test_an_impossible_number_of_branches_is_refused(http, shared_sandbox, n):
    answer = http.post(f"/v1/sandboxes/{shared_sandbox}/fork", json={"n": n})
    assert_refused(answer, 400, "invalid_argument", "n", "a whole number from 1 to 32")


@pytest.mark.parametrize(("call", "body", "words"), BAD)
def test_what_is_wrong_in_a_body_is_named(http, shared_sandbox, call, body, words):
    assert_refused(http.post(f"/v1/sandboxes/{shared_sandbox}/{call}", json=body), 400, "invalid_argument", *words)


def test_a_branch_tells_where_it_comes_from_and_its_family_is_listed(http, family):
    parent, child = family
    made = http.get(f"/v1/sandboxes/{child}").json()
    assert made["forked_from"]["sandbox_id"] == parent
    assert http.get(f"/v1/sandboxes/{parent}").json()["forked_from"] is None
    for member in family:
        told = http.get(f"/v1/sandboxes/{member}/branches").json()
        assert [(each["id"], each["state"]) for each in told["branches"]] == [(parent, "ready"), (child, "ready")]
        assert told["branches"][1]["forked_from"] == made["forked_from"]
        assert told["checkpoints"] == []


def test_a_merged_branch_is_a_404_that_says_into_which_and_its_notebook_stays(http, family):
    parent, child = family
    run(http, child, "x = 1")
    assert http.post(f"/v1/sandboxes/{parent}/merge_into/{child}").status_code == 204
    assert stdout(run(http, parent, "print(x)")) == ["1"]
    for answer in (
        http.get(f"/v1/sandboxes/{child}"),
        http.post(f"/v1/sandboxes/{child}/exec", json={"code": "1"}),
        http.post(f"/v1/sandboxes/{child}/fork"),
        http.delete(f"/v1/sandboxes/{child}"),
    ):
        body = assert_refused(answer, 404, "merged", parent, "notebook")
        assert body["details"] == {"merged_into": parent}
    assert http.get(f"/v1/sandboxes/{child}/notebook").status_code == 200
    ended = http.get(f"/v1/sandboxes/{parent}/branches").json()["branches"][1]
    assert (ended["state"], ended["end_reason"], ended["merged_into"]) == ("closed", "merged", parent)


def test_itself_and_another_family_are_refused(http, family, shared_sandbox):
    parent, child = family
    assert_refused(http.post(f"/v1/sandboxes/{parent}/merge_into/{parent}"), 400, "invalid_argument", "itself")
    strange = http.post(f"/v1/sandboxes/{parent}/merge_into/{shared_sandbox}")
    assert_refused(strange, 409, "conflict", "another family")
    itself = http.post(f"/v1/sandboxes/{child}/diff", json={"other": child})
    assert_refused(itself, 400, "invalid_argument", "itself")
    other = http.post(f"/v1/sandboxes/{child}/diff", json={"other": shared_sandbox})
    assert_refused(other, 409, "conflict", "another family")


def test_a_difference_has_files_variables_and_cells(http, family):
    parent, child = family
    run(http, child, "y = [1, 2]; open('new', 'w').write('12345')")
    told = http.post(f"/v1/sandboxes/{parent}/diff", json={"other": child}).json()
    assert {"path": "/workspace/new", "size": 5} in told["files"]["added"]
    assert [each["name"] for each in told["variables"]["added"]] == ["y"]
    assert told["cells"]["summary"] == {"added": 1, "removed": 0, "modified": 0}


def test_an_exec_call_where_states_are_kept_is_a_turn_that_can_be_rewound_to(http):
    made = http.post("/v1/sandboxes", json={"template": "python-minimal", "checkpoints": 2}).json()
    name = made["id"]
    assert made["checkpoints"] == 2
    turns = [run(http, name, f"x = {number}")[-1]["turn_id"] for number in range(3)]
    kept = http.get(f"/v1/sandboxes/{name}/branches").json()["checkpoints"]
    assert [each["turn_id"] for each in kept] == turns[1:]
    assert all(each["private_bytes"] > 0 for each in kept)
    answer = http.post(f"/v1/sandboxes/{name}/rewind", json={"turn_id": turns[1]})
    assert answer.status_code == 200, answer.text
    branch = answer.json()["branch"]
    assert (answer.json()["sandbox_id"], answer.json()["turn_id"]) == (name, turns[1])
    assert stdout(run(http, name, "print(x)")) == ["1"]
    assert stdout(run(http, branch, "print(x)")) == ["2"]
    sources = ["".join(cell["source"]) for cell in http.get(f"/v1/sandboxes/{name}/notebook").json()["cells"]]
    assert sources == ["x = 0", "x = 1", "print(x)"]
    refused = http.post(f"/v1/sandboxes/{name}/rewind", json={"turn_id": turns[0]})
    assert_refused(refused, 404, "not_found", turns[1])
    for each in (name, branch):
        http.delete(f"/v1/sandboxes/{each}")


def test_without_checkpoints_a_rewind_says_how_to_have_them(http, sandbox):
    assert "turn_id" not in run(http, sandbox, "x = 1")[-1]
    answer = http.post(f"/v1/sandboxes/{sandbox}/rewind", json={"turn_id": "turn_1"})
    assert_refused(answer, 409, "conflict", "checkpoints")


def test_branches_count_against_the_tenants_quota(service):
    with client_of(service, new_key(service, "forker", "--max-sandboxes", "3")) as http:
        parent = http.post("/v1/sandboxes", json={"template": "python-minimal"}).json()["id"]
        refused = http.post(f"/v1/sandboxes/{parent}/fork", json={"n": 3})
        assert_refused(refused, 429, "quota_exceeded", "may have 3 at once")
        children = http.post(f"/v1/sandboxes/{parent}/fork", json={"n": 2}).json()["children"]
        assert len(children) == 2
        for each in (parent, *children):
            http.delete(f"/v1/sandboxes/{each}")


def test_code_that_runs_longer_than_the_wait_is_a_conflict(service, http, sandbox):
    code = {"code": "import time\nprint('on', flush=True)\ntime.sleep(60)"}
    with http.stream("POST", f"/v1/sandboxes/{sandbox}/exec", json=code) as running:
        lines = running.iter_lines()
        assert "on" in next(lines)
        with client_of(service, service.key) as other:
            refused = other.post(f"/v1/sandboxes/{sandbox}/fork", json={"wait_seconds": 0.1})
            assert_refused(refused, 409, "conflict", "still running", "wait_seconds")
