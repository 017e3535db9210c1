import httpx
import pytest

from podflare_nb.protocol.requests import UPLOAD_BEGINS

from .conftest import assert_refused, run, stdout

CREATE = [
    ({"template": "no-such"}, 404, "not_found", ["no-such", "python-minimal"]),
    ({"template": ""}, 400, "invalid_argument", ["template", "the name of a template"]),
    ({"template": 7}, 400, "invalid_argument", ["template is 7"]),
    ({"template": ["a"]}, 400, "invalid_argument", ["template is a list"]),
    ({"timeout_seconds": -5}, 400, "invalid_argument", ["timeout_seconds is -5", "from 1 to 86400"]),
    ({"timeout_seconds": 0}, 400, "invalid_argument", ["timeout_seconds is 0"]),
    ({"timeout_seconds": 10**30}, 400, "invalid_argument", ["timeout_seconds", "86400"]),
    ({"timeout_seconds": "60"}, 400, "invalid_argument", ["timeout_seconds is '60'"]),
    ({"timeout_seconds": 1.5}, 400, "invalid_argument", ["timeout_seconds is 1.5"]),
    ({"timeout_seconds": True}, 400, "invalid_argument", ["timeout_seconds is true"]),
    ({"idle_timeout_seconds": -1}, 400, "invalid_argument", ["idle_timeout_seconds is -1"]),
    ({"ram_mib": 1}, 400, "invalid_argument", ["ram_mib is 1", "128"]),
    ({"ram_mib": 10**9}, 400, "invalid_argument", ["ram_mib", "65536"]),
    ({"rootfs_gb": 0}, 400, "invalid_argument", ["rootfs_gb is 0"]),
    ({"egress": "no"}, 400, "invalid_argument", ["egress must be true, false or an object"]),
    ({"egress": {"allow": "a.example"}}, 400, "invalid_argument", ["egress must be"]),
    ({"egress": {"allow": [], "deny": []}}, 400, "invalid_argument", ["egress must be"]),
    ({"egress": {"allow": ["ok.example", "not a name"]}}, 400, "invalid_argument", ["'not a name'", "is no host name"]),
    ({"egress": {"allow": [7]}}, 400, "invalid_argument", ["egress.allow has 7", "a string"]),
    ({"egress": {"allow": ["0x7f.1"]}}, 400, "invalid_argument", ["'0x7f.1'", "four decimal numbers"]),
    ({"egress": {"allow": ["a.example:99999"]}}, 400, "invalid_argument", ["'a.example:99999'", "port"]),
    ({"egress": {"allow": ["10.0.0.0/8"]}}, 400, "invalid_argument", ["'10.0.0.0/8'", "no public address"]),
    ({"egress": {"allow": ["127.0.0.1"]}}, 400, "invalid_argument", ["'127.0.0.1'", "no public address"]),
    ({"egress": {"allow": [f"h{n}.example" for n in range(257)]}}, 400, "invalid_argument", ["257 rules"]),
    ({"persistent": True}, 400, "invalid_argument", ["persistent"]),
    ({"labels": {"a": 1}}, 400, "invalid_argument", ["labels['a'] is 1"]),
    ({"labels": {str(n): "" for n in range(65)}}, 400, "invalid_argument", ["labels", "at most 64"]),
    ({"labels": {"a" * 65: ""}}, 400, "invalid_argument", ["labels"]),
    ({"env": {"A B": "x"}}, 400, "invalid_argument", ["env['A B']"]),
    ({"env": {"A": "x\0y"}}, 400, "invalid_argument", ["env['A']", "no NUL"]),
    ({"checkpoints": -1}, 400, "invalid_argument", ["checkpoints is -1", "from 0 to 100"]),
    ({"checkpoints": 101}, 400, "invalid_argument", ["checkpoints is 101"]),
    ({"colour": "red"}, 400, "invalid_argument", ["no field 'colour'", "template"]),
]
EXEC = [
    ({}, 400, "invalid_argument", ["code is missing"]),
    ({"code": 1}, 400, "invalid_argument", ["code is 1"]),
    ({"code": None}, 400, "invalid_argument", ["code is null"]),
    ({"code": "1", "language": "ruby"}, 400, "invalid_argument", ["'ruby'", "'python' or 'bash'"]),
    ({"code": "1", "timeout_seconds": 0}, 400, "invalid_argument", ["timeout_seconds is 0"]),
    ({"code": "1", "timeout_seconds": -1}, 400, "invalid_argument", ["timeout_seconds is -1"]),
    ({"code": "1", "timeout_seconds": "5"}, 400, "invalid_argument", ["timeout_seconds is '5'"]),
    ({"code": "1", "model": "gpt"}, 400, "invalid_argument", ["provider:name"]),
    ({"code": "echo a\0b", "language": "bash"}, 400, "invalid_argument", ["NUL"]),
    ({"code": "1", "shell": "zsh"}, 400, "invalid_argument", ["no field 'shell'"]),
    ({"code": "#" * ((1 << 20) + 1)}, 413, "too_large", ["1048577 bytes", "1 MiB"]),
    ({"code": "ä" * (1 << 19) + "."}, 413, "too_large", ["1048577 bytes"]),
    ({"code": UPLOAD_BEGINS + "#" * (4 << 20)}, 413, "too_large", ["4 MiB"]),
]
CHAT = [
    ({}, 400, "invalid_argument", ["message is missing"]),
    ({"message": ""}, 400, "invalid_argument", ["message is ''"]),
    ({"message": "1", "approve": "never"}, 400, "invalid_argument", ["'auto' or 'ask'"]),
    ({"message": "1", "max_steps": 0}, 400, "invalid_argument", ["max_steps is 0"]),
    ({"message": "x" * ((1 << 20) + 1)}, 413, "too_large", ["message"]),
]
NOT_JSON = [
    (b"{", "not JSON"),
    (b"\xff\xfe", "not JSON"),
    (b"nul", "not JSON"),
    (rb'{"code": "\ud83d"}', "Half of a surrogate pair"),
    (rb'{"code": "\ude00"}', "Half of a surrogate pair"),
    (rb'{"code": "\ud83d\u0041"}', "Half of a surrogate pair"),
    (b"[]", "must be a JSON object"),
    (b"null", "must be a JSON object"),
    (b'"code"', "must be a JSON object"),
    (b"[" * 100_000, "not JSON"),
]
GONE_CALLS = [
    ("POST", "/exec", {"code": "1"}),
    ("POST", "/interrupt", {}),
    ("GET", "/replay", None),
    ("GET", "/files", None),
    ("GET", "/files/a", None),
    ("PUT", "/files/a", None),
    ("DELETE", "/files/a", None),
    ("POST", "/chat", {"message": "1"}),
    ("PATCH", "", {"labels": {}}),
    ("DELETE", "", None),
]


@pytest.mark.parametrize("case", CREATE)
def test_a_create_that_is_wrong_is_refused_with_a_sentence_and_leaves_nothing(http, case):
    body, status, code, words = case
    before = http.get("/v1/sandboxes").json()
    assert_refused(http.post("/v1/sandboxes", json=body), status, code, *words)
    assert http.get("/v1/sandboxes").json() == before


@pytest.mark.parametrize("case", EXEC)
def test_an_exec_that_is_wrong_is_refused_with_a_sentence(http, shared_sandbox, case):
    body, status, code, words = case
    assert_refused(http.post(f"/v1/sandboxes/{shared_sandbox}/exec", json=body), status, code, *words)


@pytest.mark.parametrize("case", CHAT)
def test_a_message_that_is_wrong_is_refused_with_a_sentence(http, shared_sandbox, case):
    body, status, code, words = case
    assert_refused(http.post(f"/v1/sandboxes/{shared_sandbox}/chat", json=body), status, code, *words)


@pytest.mark.parametrize(("body", "words"), NOT_JSON)
def test_a_body_that_is_no_json_object_is_refused(http, shared_sandbox, body, words):
    for path in ("/v1/sandboxes", f"/v1/sandboxes/{shared_sandbox}/exec"):
        assert_refused(http.post(path, content=body), 400, "invalid_argument", words)


def test_a_body_over_the_limit_is_refused_from_its_headers(http, shared_sandbox):
    answer = http.post(f"/v1/sandboxes/{shared_sandbox}/exec", content=b" " * (9 << 20))
    assert_refused(answer, 413, "too_large", "9437184 bytes", "8388608")


def test_a_body_over_the_limit_that_comes_in_chunks_is_refused_too(http, shared_sandbox):
    answer = http.post(f"/v1/sandboxes/{shared_sandbox}/exec", content=(b" " * (1 << 20) for _ in range(9)))
    assert_refused(answer, 413, "too_large", "8388608")


def test_null_means_that_a_field_is_not_given(http):
    answer = http.post(
        "/v1/sandboxes", json={"template": "python-minimal", "timeout_seconds": None, "egress": None, "labels": None}
    )
    assert answer.status_code == 200
    http.delete(f"/v1/sandboxes/{answer.json()['id']}")


@pytest.mark.parametrize("name", ["sbx_" + "0" * 32, "x", "..", "%00", "sbx_%20", "'; DROP TABLE sandboxes; --"])
def test_a_sandbox_that_never_was_is_not_found(http, name):
    answer = http.get(f"/v1/sandboxes/{httpx.URL(path=name).raw_path.decode()}/replay")
    assert_refused(answer, 404, "not_found")


def test_a_closed_sandbox_is_gone_on_every_call_and_says_why(http, sandbox):
    assert http.delete(f"/v1/sandboxes/{sandbox}").status_code == 204
    for method, path, body in GONE_CALLS:
        answer = http.request(method, f"/v1/sandboxes/{sandbox}{path}", json=body)
        assert assert_refused(answer, 410, "gone", "closed")["details"]["reason"] == "closed"


def test_a_route_that_there_is_not_answers_json(http):
    for path in ("/v1/nothing", "/v2/sandboxes", "/v1/sandboxes/", "/v1/healthz/x"):
        assert_refused(http.get(path), 404, "not_found", path)


def test_a_method_that_a_route_does_not_have_answers_json(http):
    assert_refused(http.put("/v1/sandboxes"), 405, "method_not_allowed", "PUT")


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=-1", "limit=201", "limit=x", "limit=99999999999", "include_closed=maybe"]
)
def test_a_query_that_is_wrong_is_refused(http, query):
    assert_refused(http.get(f"/v1/sandboxes?{query}"), 400, "invalid_argument", query.split("=")[0])


def test_a_cursor_that_no_list_gave_is_refused(http):
    assert_refused(http.get("/v1/sandboxes?cursor=nope"), 400, "invalid_argument", "cursor")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("..%2Fsecret", 403),
        ("%2Fetc%2Fpasswd", 403),
        ("a%2F..%2F..%2Fsecret", 403),
        ("a%00b", 400),
        ("", 400),
        ("a/", 400),
    ],
)
def test_a_path_that_escapes_or_is_none_is_refused(http, shared_sandbox, path, status):
    answer = http.put(f"/v1/sandboxes/{shared_sandbox}/files/{path}", content=b"x")
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]


def test_a_symlink_out_of_the_workspace_leads_nowhere(http, sandbox):
    run(http, sandbox, "import os; os.symlink('/etc', 'out'); os.symlink('/etc/passwd', 'passwd')")
    for path in ("out/passwd", "passwd"):
        assert http.get(f"/v1/sandboxes/{sandbox}/files/{path}").status_code in {403, 404}
        assert http.put(f"/v1/sandboxes/{sandbox}/files/out/new", content=b"x").status_code in {403, 404}


def test_nothing_is_lost_by_what_was_refused(http, sandbox):
    run(http, sandbox, "x = 42")
    for body, *_ in EXEC:
        http.post(f"/v1/sandboxes/{sandbox}/exec", json=body)
    assert stdout(run(http, sandbox, "print(x)")) == ["42"]
