import pytest

from .conftest import assert_refused, run

CLAIMS = {"turn_id": "turn-7", "operator": "agent:theirs", "model": "anthropic:claude"}


def record(http, sandbox: str, message: str, **more):
    return http.post(f"/v1/sandboxes/{sandbox}/record", json={"message": message, **more})


def notebook(http, sandbox: str) -> dict:
    return http.get(f"/v1/sandboxes/{sandbox}/notebook").json()


def said(cell: dict) -> dict:
    return {"text": "".join(cell["source"]), **cell["metadata"]["podflare_nb"]}


def test_a_message_becomes_a_markdown_cell_with_who_said_it(http, sandbox):
    answer = record(http, sandbox, "I counted **three**.\nThat is all.", **CLAIMS)
    assert answer.status_code == 201
    (cell,) = notebook(http, sandbox)["cells"]
    assert cell["cell_type"] == "markdown"
    assert cell["id"] == answer.json()["cell_id"]
    expected = {"text": "I counted **three**.\nThat is all.", "role": "assistant", "principal": "local"}
    stamp = said(cell)
    assert expected.items() <= stamp.items()
    assert stamp["model"] == {"provider": "anthropic", "id": "claude"}
    assert (stamp["turn_id"], stamp["operator"]) == ("turn-7", "agent:theirs")


def test_a_turn_of_an_outside_agent_is_one_turn_in_the_notebook(http, sandbox):
    record(http, sandbox, "Add one and one.", role="user", **CLAIMS)
    run(http, sandbox, "1 + 1", tool_call_id="call-1", **CLAIMS)
    record(http, sandbox, "It is two.", **CLAIMS)
    cells = notebook(http, sandbox)["cells"]
    assert [said(cell)["role"] for cell in cells] == ["user", "tool", "assistant"]
    assert {said(cell)["turn_id"] for cell in cells} == {"turn-7"}
    assert {said(cell)["operator"] for cell in cells} == {"agent:theirs"}
    assert {said(cell)["principal"] for cell in cells} == {"local"}
    assert [said(cell)["model"] for cell in cells] == [{"provider": "anthropic", "id": "claude"}] * 3
    assert [said(cell).get("tool_call_id") for cell in cells] == [None, "call-1", None]


def test_what_was_said_stays_when_the_sandbox_has_ended(http, sandbox):
    record(http, sandbox, "It is two.", **CLAIMS)
    run(http, sandbox, "1 + 1", tool_call_id="call-1", **CLAIMS)
    before = notebook(http, sandbox)["cells"]
    http.delete(f"/v1/sandboxes/{sandbox}")
    assert notebook(http, sandbox)["cells"] == before


def test_exports_name_the_agent_that_said_it(http, sandbox):
    record(http, sandbox, "Count.", role="user", **CLAIMS)
    record(http, sandbox, "It is *two*.", operator="agent:<b>*their`s")
    page = http.get(f"/v1/sandboxes/{sandbox}/notebook.html").text
    assert "agent:&lt;b&gt;*their`s" in page
    text = http.get(f"/v1/sandboxes/{sandbox}/notebook.md").text
    assert "> Count." in text
    assert "agent:<b>*their's" in text
    assert "It is *two*." in text


def test_a_message_is_recorded_while_code_runs(http, sandbox):
    code = "import signal; print('on'); signal.pause()"
    with http.stream("POST", f"/v1/sandboxes/{sandbox}/exec", json={"code": code}) as running:
        lines = running.iter_lines()
        assert '"on"' in next(lines)
        assert record(http, sandbox, "It runs.").status_code == 201
        http.post(f"/v1/sandboxes/{sandbox}/interrupt")
        assert '"status":"interrupted"' in list(lines)[-1]
    assert [said(cell)["role"] for cell in notebook(http, sandbox)["cells"]] == ["tool", "assistant"]


def test_the_first_message_of_a_user_names_the_sandbox(http, sandbox):
    record(http, sandbox, "I begin.")
    assert http.get(f"/v1/sandboxes/{sandbox}").json()["title"] is None
    record(http, sandbox, "Sum the sales.", role="user")
    assert http.get(f"/v1/sandboxes/{sandbox}").json()["title"] == "Sum the sales."


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, ["message is missing"]),
        ({"message": ""}, 400, ["message is ''"]),
        ({"message": "a\0b"}, 400, ["message", "NUL"]),
        ({"message": "a", "role": "tool"}, 400, ["role is 'tool'", "'assistant' or 'user'"]),
        ({"message": "a", "model": "claude"}, 400, ["provider:name"]),
        ({"message": "a", "turn_id": "x" * 201}, 400, ["turn_id", "200 characters"]),
        ({"message": "a", "tool_call_id": "c"}, 400, ["no field 'tool_call_id'"]),
        ({"message": "ä" * (1 << 19) + "."}, 413, ["1048577 bytes", "1 MiB"]),
    ],
)
def test_a_message_that_is_wrong_is_refused_and_not_recorded(http, shared_sandbox, body, status, words):
    answer = http.post(f"/v1/sandboxes/{shared_sandbox}/record", json=body)
    assert_refused(answer, status, "too_large" if status == 413 else "invalid_argument", *words)
    assert notebook(http, shared_sandbox)["cells"] == []


def test_a_message_of_the_largest_size_is_recorded_whole(http, sandbox):
    text = "ä" * (1 << 19)
    assert record(http, sandbox, text).status_code == 201
    assert said(notebook(http, sandbox)["cells"][0])["text"] == text


def test_a_sandbox_that_has_ended_takes_no_message(http, sandbox):
    http.delete(f"/v1/sandboxes/{sandbox}")
    body = assert_refused(record(http, sandbox, "Too late."), 410, "gone")
    assert body["details"]["reason"] == "closed"
