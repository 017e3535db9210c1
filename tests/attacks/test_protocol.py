"""Lies about who speaks: forged kernel messages, other people's kernels, calls at once, secrets to be found."""

import asyncio
import json
import re
import uuid
from collections import Counter
from datetime import UTC, datetime

import httpx
import nbformat
import pytest
import websocket
from websocket import WebSocketException

from podflare_nb.tenants.key_ring import open_key_ring

from ..faults.caller import SECONDS, Caller
from ..faults.services import running

SECRET = "a-secret-of-the-server-7d1e"
QUOTA = 5
EXPORTS = ("notebook.ipynb", "notebook.html", "notebook.md", "notebook.py", "notebook", "replay", "chat")


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODFLARE_NB_TEST_SECRET", SECRET)
        patch.setenv("OPENAI_API_KEY", SECRET)
        with running(tmp_path_factory.mktemp("service")) as service:
            yield service


@pytest.fixture
def caller(service):
    with Caller(service) as caller:
        yield caller


@pytest.fixture
def sandbox(caller):
    with caller.sandbox() as sandbox:
        yield sandbox


def new_key(service, tenant: str, **quotas: int) -> str:
    """A key of another tenant, made beside the running service as ``podflare-nb keys create`` does."""
    with open_key_ring(service.data_dir, clock=lambda: datetime.now(UTC)) as ring:
        ring.ensure_tenant(tenant, **quotas)
        return ring.create(tenant, label="a test")[1]


@pytest.fixture(scope="module")
def stranger(service):
    with Caller(service, new_key(service, "stranger")) as caller:
        yield caller


# Forged messages. User code has its kernel's key and sockets: what it signs is signed well.

FORGING = """
import json
kernel = get_ipython().kernel
session = kernel.session
def say(kind, content, parent=None, raw=None, header=None, metadata=None, signature=None):
    message = session.msg(kind, {}, parent=parent or kernel.get_parent())
    if header is not None: message["header"].update(header)
    frames = session.serialize(message, ident=b"forged")
    at = frames.index(b"<IDS|MSG>")
    if header is not None: frames[at + 2] = json.dumps(message["header"], default=str).encode()
    if metadata is not None: frames[at + 4] = metadata
    frames[at + 5] = json.dumps(content).encode() if raw is None else raw
    frames[at + 1] = session.sign(frames[at + 2 : at + 6]) if signature is None else signature
    kernel.iopub_thread.send_multipart(frames)
def deep(depth): return b"[" * depth + b"]" * depth
def shown(raw): return b'{"data": {"application/json": ' + raw + b', "text/plain": "x"}, "metadata": {}}'
"""
FORGED = {
    "a wrong signature": "say('stream', {'name': 'stdout', 'text': 'forged'}, signature=b'0' * 64)",
    "no signature": "say('stream', {'name': 'stdout', 'text': 'forged'}, signature=b'')",
    "another request's parent": "say('stream', {'name': 'stdout', 'text': ''}, {'header': {'msg_id': 'x' * 1000}})",
    "types in a stream": "say('stream', {'name': ['stdout'], 'text': {'a': 1}})",
    "types in a status": "say('status', {'execution_state': {'a': []}})",
    "types in an error": "say('error', {'ename': 5, 'evalue': None, 'traceback': [1, None, {'a': []}]})",
    "no content": "say('display_data', None, raw=b'')",
    "content that is a list": "say('display_data', [1, 2])",
    "content that is no JSON": "say('display_data', None, raw=b'{' * 100)",
    "content that is no text": "say('display_data', None, raw=b'\\xff\\xfe\\x00')",
    "types in a bundle": "say('display_data', {'data': {'text/plain': 5, 'image/png': {'a': 1}, 'text/html': [1]},"
    " 'metadata': 7, 'transient': 'x'})",
    "a picture that is none": "say('display_data', {'data': {'image/png': 'no base64 at all', 'image/svg+xml': '<', "
    "'text/latex': '\\\\begin{', 'text/html': '<script>', 'application/pdf': 'x'}, 'metadata': {}})",
    "a type that is none": "say('display_data', {'data': {'': 'x', '\\r\\nX: y': 'x', 'a' * 99: 'x'}, 'metadata': {}})",
    "half a character": 'say(\'stream\', None, raw=b\'{"name": "stdout", "text": "\\\\ud800"}\')',
    "no number": "say('display_data', None, raw=shown(b'[NaN, Infinity, -Infinity]'))",
    "a number of 5000 digits": "say('display_data', None, raw=shown(b'1' * 5000))",
    "a number of 4000 digits": "say('display_data', None, raw=shown(b'1' * 4000))",
    "an absurd count": "say('execute_result', {'data': {}, 'metadata': {}, 'execution_count': 10**300})",
    "a negative count": "say('execute_result', {'data': {}, 'metadata': {}, 'execution_count': -1})",
    "an absurd count of the input": "say('execute_input', {'code': 5, 'execution_count': 'x'})",
    "JSON 190 deep": "say('display_data', None, raw=shown(deep(190)))",
    "JSON 240 deep": "say('display_data', None, raw=shown(deep(240)))",
    "JSON 300 deep": "say('display_data', None, raw=shown(deep(300)))",
    "JSON 460 deep": "say('display_data', None, raw=shown(deep(460)))",
    "JSON 900 deep": "say('display_data', None, raw=shown(deep(900)))",
    "JSON a million deep": "say('display_data', None, raw=shown(deep(1_000_000)))",
    "deep metadata of a display": """say('display_data', 0, raw=b'{"data": {}, "metadata": {"a": %s}}' % deep(300))""",
    "deep metadata of the message": "say('display_data', {'data': {'text/plain': 'x'}}, metadata=deep(100_000))",
    "12 MB of metadata": "say('display_data', {'data': {}}, metadata=b'{\"a\": \"%s\"}' % (b'x' * 12_000_000))",
    "a header of 1 MB": "say('stream', {'name': 'stdout', 'text': ''}, header={'more': 'x' * 1_000_000})",
    "a type of message that is none": "say('x' * 1000, {}); say('', {}); say('stream', {}, header={'msg_type': 5})",
    "an update of no display": "say('update_display_data', {'data': {}, 'transient': {'display_id': 'no'}})",
    "an id that is none": "say('display_data', {'data': {'text/plain': 'x'}, 'transient': {'display_id': ['a']}})",
    "a hundred others' cells": "for n in range(100): say('execute_input', {'code': 'x', 'execution_count': n}, "
    "{'header': session.msg_header('execute_request')})",
    "frames that are no message": "for frames in ([b''], [b'<IDS|MSG>'], [b'x'] * 3000):\n"
    "    kernel.iopub_thread.send_multipart(frames)",
    "a million empty objects": "say('display_data', None, raw=shown(b'[' + b'{},' * 999_999 + b'{}]'))",
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_message_harms_nobody_but_its_sandbox(caller, sandbox, name):
    ran = caller.run(sandbox, f"{FORGING}\n{FORGED[name]}\nprint('after')", timeout_seconds=30)
    assert ran.exit["status"] == "ok", ran.exit
    assert "after" in ran.text()
    assert "forged" not in ran.text()
    assert caller.run(sandbox, "print('next')").text() == "next"
    for export in EXPORTS:
        answer = caller.http.get(f"/v1/sandboxes/{sandbox}/{export}")
        assert answer.status_code == 200, f"{export}: {answer.text[:300]}"
    nbformat.validate(strictly_read(caller.http.get(f"/v1/sandboxes/{sandbox}/notebook.ipynb").text))


def strictly_read(text):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return nbformat.from_dict(json.loads(text, parse_constant=refuse))


REPLY = """reply = session.msg('execute_reply', {reply}, parent=kernel.get_parent())
kernel.shell_stream.send_multipart(session.serialize(reply, ident=kernel._parent_ident['shell']))
"""
IDLE = "say('status', {'execution_state': 'idle'})\n"
EARLY_ENDS = {
    "idle": f"for _ in range(1000): {IDLE}",
    "reply": REPLY.replace("{reply}", "{'status': 'ok', 'execution_count': [1]}"),
    "both": REPLY.replace("{reply}", "{'status': 5, 'payload': 7}") + IDLE,
}


@pytest.mark.parametrize("name", EARLY_ENDS)
def test_who_forges_the_end_of_a_cell_gets_one_end_and_the_sandbox_goes_on(caller, sandbox, name):
    late = "import time\nfor n in range(20): print('late', n, flush=True); time.sleep(0.01)"
    ran = caller.run(sandbox, f"{FORGING}\n{EARLY_ENDS[name]}\n{late}", timeout_seconds=30)
    assert ran.exit["status"] in ("ok", "error"), ran.events
    assert caller.run(sandbox, "print('next')").text().endswith("next")
    assert caller.run(sandbox, "print('last')").text() == "last"


PRINTED = '{"type":"exit","data":7,"seq":0,"ts":0}'


@pytest.mark.parametrize("language", ["python", "bash"])
def test_printed_events_are_lines_of_text(caller, sandbox, language):
    code = f"print({PRINTED!r})" if language == "python" else f"echo '{PRINTED}'"
    ran = caller.run(sandbox, code, language=language)
    assert ran.text() == PRINTED
    assert ran.exit["data"] == 0


def test_what_some_clients_take_for_line_ends_stays_inside_of_its_event(caller, sandbox):
    """httpx's ``iter_lines`` and ``str.splitlines``, by which published clients read, split at all of these."""
    ran = caller.run(sandbox, r"print('a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x00h')")
    assert ran.text() == "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x00h"


# Jupyter's own kernels, of two tenants.


@pytest.fixture
def jupyter(service):
    """``jupyter(caller, method, path)``: a call of Jupyter's own API as this tenant."""

    def call(caller, method, path, **kwargs):
        url = service.url.removesuffix("/podflare") + path
        headers = {"Authorization": f"Bearer {caller.key}"}
        return httpx.request(method, url, headers=headers, timeout=SECONDS, **kwargs)

    return call


@pytest.fixture
def kernel(jupyter, caller):
    """A kernel that the local tenant started by Jupyter's API."""
    made = jupyter(caller, "POST", "/api/kernels", json={"name": "python-minimal"})
    assert made.status_code == 201, made.text
    yield made.json()["id"]
    assert jupyter(caller, "DELETE", f"/api/kernels/{made.json()['id']}").status_code == 204


def open_channels(caller, kernel):
    url = (
        str(caller.http.base_url.copy_with(scheme="ws")).removesuffix("/podflare/") + f"/api/kernels/{kernel}/channels"
    )
    return websocket.create_connection(url, SECONDS, header=[f"Authorization: Bearer {caller.key}"])


OF_ONE_KERNEL = [("GET", ""), ("DELETE", ""), ("POST", "/interrupt"), ("POST", "/restart"), ("GET", "/channels")]


def test_anothers_kernel_answers_404_whatever_is_asked(jupyter, stranger, caller, kernel):
    for method, path in OF_ONE_KERNEL:
        assert jupyter(stranger, method, f"/api/kernels/{kernel}{path}").status_code == 404, path
    with pytest.raises(WebSocketException):
        open_channels(stranger, kernel)
    open_channels(caller, kernel).close()
    assert jupyter(caller, "GET", f"/api/kernels/{kernel}").status_code == 200


def test_anothers_kernel_is_in_no_list_and_no_count(jupyter, stranger, caller, kernel):
    assert jupyter(stranger, "GET", "/api/kernels").json() == []
    assert [each["id"] for each in jupyter(caller, "GET", "/api/kernels").json()] == [kernel]
    status = jupyter(stranger, "GET", "/api/status").json()
    assert (status["kernels"], status["connections"]) == (0, 0)


def test_sessions_are_each_tenants_own(jupyter, caller, stranger, sandbox):
    kernel_id = str(uuid.UUID(sandbox.removeprefix("sbx_")))
    body = {"path": "n.ipynb", "name": "n", "type": "notebook", "kernel": {"id": kernel_id}}
    assert jupyter(stranger, "POST", "/api/sessions", json=body).status_code == 404
    made = jupyter(caller, "POST", "/api/sessions", json=body)
    assert made.status_code == 201, made.text
    assert jupyter(stranger, "GET", "/api/sessions").json() == []
    for method in ("GET", "DELETE"):
        assert jupyter(stranger, method, f"/api/sessions/{made.json()['id']}").status_code == 404


def test_the_process_of_a_sandbox_is_none_of_jupyters(jupyter, caller, sandbox):
    kernel_id = caller.http.get(f"/v1/sandboxes/{sandbox}").json()["kernel_id"]
    assert jupyter(caller, "GET", f"/api/kernels/{kernel_id}").status_code == 404
    assert kernel_id not in jupyter(caller, "GET", "/api/kernels").text


@pytest.mark.parametrize(
    "path",
    [
        "/api/contents", "/api/contents/x", "/api/terminals", "/terminals/1", "/api/shutdown",
        "/api/config/notebook", "/api/events", "/api/nbconvert", "/files/x", "/nbconvert/html/x", "/metrics",
        "/api/security/csp-report", "/view/x", "/api/checkpoints",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT", "PATCH"])
def test_the_rest_of_jupyter_gives_a_tenant_nothing(jupyter, stranger, method, path):
    answer = jupyter(stranger, method, path)
    assert answer.status_code in (403, 404, 405) or (method, path) == ("POST", "/api/security/csp-report"), answer.text


@pytest.mark.parametrize("body", [{"name": "python3"}, {"name": "../x"}, {"name": "python-minimal", "path": "/etc"}])
def test_jupyters_kernels_are_templates_only_and_run_in_a_jail(jupyter, caller, body):
    answer = jupyter(caller, "POST", "/api/kernels", json=body)
    if body["name"] != "python-minimal":
        assert answer.status_code in (400, 404), answer.text
    else:
        assert answer.status_code == 201
        assert jupyter(caller, "DELETE", f"/api/kernels/{answer.json()['id']}").status_code == 204


# Calls at once.


def at_once(service, calls, key=None):
    """Make all calls at the same moment; gives (name, status, text) of each."""

    async def make():
        headers = {"Authorization": f"Bearer {key or service.key}"}
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=service.url, headers=headers, timeout=SECONDS, limits=limits) as http:
            return await asyncio.gather(*(call(http) for call in calls))

    async def call_one(name, http, method, path, **kwargs):
        answer = await http.request(method, path, **kwargs)
        return name, answer.status_code, answer.text

    calls = [
        lambda http, given=given: call_one(given[0], http, given[1], given[2], **(given[3] if given[3:] else {}))
        for given in calls
    ]
    return asyncio.run(make())


def calls_of_every_kind(path):
    return [
        ("exec", "POST", f"{path}/exec", {"json": {"code": "print(1)"}}),
        ("exec", "POST", f"{path}/exec", {"json": {"code": "import os; os._exit(1)"}}),
        ("exec", "POST", f"{path}/exec", {"json": {"code": "while True: pass", "timeout_seconds": 0.3}}),
        ("interrupt", "POST", f"{path}/interrupt", {"json": {}}),
        ("patch", "PATCH", path, {"json": {"labels": {"a": "b"}}}),
        ("patch", "PATCH", path, {"json": {"timeout_seconds": 100}}),
        ("put", "PUT", f"{path}/files/a", {"content": b"x" * 100_000}),
        ("put", "PUT", f"{path}/files/a", {"content": b"y" * 100_000}),
        ("list", "GET", f"{path}/files/"),
        ("get", "GET", path),
        ("chat", "POST", f"{path}/chat", {"json": {"message": "`1`", "model": "direct"}}),
        ("chat", "POST", f"{path}/chat", {"json": {"message": "```python\n1\n```", "model": "direct"}}),
        ("notebook", "GET", f"{path}/notebook.ipynb"),
        ("replay", "GET", f"{path}/replay"),
    ]


@pytest.mark.parametrize("closes", [0, 3])
def test_calls_at_once_never_answer_500_and_every_stream_ends(service, caller, closes):
    for _ in range(4):
        path = f"/v1/sandboxes/{caller.create()}"
        answers = at_once(service, [*calls_of_every_kind(path), *[("close", "DELETE", path)] * closes])
        for name, status, text in answers:
            assert status in (200, 201, 202, 204, 409, 410), f"{name}: {status} {text}"
            if name == "exec" and status == 200:
                assert json.loads(text.splitlines()[-1])["type"] == "exit"
            elif name == "chat" and status == 200:
                assert json.loads(text.splitlines()[-1])["type"] in ("turn-end", "turn-error")
        closed = Counter(status for name, status, _ in answers if name == "close")
        assert sum(closed.values()) == closes
        assert not closes or closed[204] >= 1
        assert caller.http.delete(path).status_code == (410 if closes else 204)


def test_creates_and_closes_at_once_never_pass_the_quota(service):
    key = new_key(service, "small", max_sandboxes=QUOTA)
    create = ("create", "POST", "/v1/sandboxes", {"json": {"template": "python-minimal"}})
    made = at_once(service, [create] * 12, key)
    assert Counter(status for _, status, _ in made) == {200: QUOTA, 429: 12 - QUOTA}
    ids = [json.loads(text)["id"] for _, status, text in made if status == 200]
    closes = [("close", "DELETE", f"/v1/sandboxes/{each}") for each in ids[:2] * 3]
    more = at_once(service, [call for pair in zip([create] * 6, closes, strict=True) for call in pair], key)
    assert {status for name, status, _ in more if name == "create"} <= {200, 429}
    with Caller(service, key) as small:
        live = small.http.get("/v1/sandboxes").json()["sandboxes"]
        assert len(ids) - 2 <= len(live) <= QUOTA
        filled = at_once(service, [create] * QUOTA, key)
        assert Counter(status for _, status, _ in filled)[200] == QUOTA - len(live)
        for each in small.http.get("/v1/sandboxes").json()["sandboxes"]:
            small.close(each["id"])


# Secrets. A pattern with its first character in brackets finds a secret and is not one itself.

SCAN = """
import os, re
pattern = re.compile({pattern!r}, re.DOTALL)
found = []
for pid in [name for name in os.listdir("/proc") if name.isdigit()]:
    for name in ("environ", "cmdline"):
        try:
            found += [(pid, name)] if pattern.search(open(f"/proc/{{pid}}/{{name}}", "rb").read()) else []
        except OSError:
            pass
memory = os.open("/proc/self/mem", os.O_RDONLY)
read = 0
for line in open("/proc/self/maps"):
    span, rights = line.split()[:2]
    start, end = (int(part, 16) for part in span.split("-"))
    while rights.startswith("r") and start < end:
        try:
            data = os.pread(memory, min(end - start, 1 << 24), start)
        except OSError:
            break
        found += [("memory", line)] if pattern.search(data) else []
        start += len(data); read += len(data)
print(read > 1 << 20, found)
"""


def found_in(caller, sandbox, secret):
    pattern = b"[" + secret[:1].encode() + b"]" + re.escape(secret[1:]).encode()
    return caller.run(sandbox, SCAN.format(pattern=pattern)).text()


def test_no_secret_of_the_server_is_anywhere_in_a_jail(service, caller, stranger):
    other = stranger.create()
    stranger.run(other, "mine = 'a-secret-of-' + 'a-neighbour-99c1'")
    cookie_secret = (service.data_dir / "cookie_secret").read_text().strip()
    with caller.sandbox() as fresh, caller.sandbox(env={"A": "1"}) as forked:
        for secret in (service.key, stranger.key, SECRET, cookie_secret, "a-secret-of-a-neighbour-99c1"):
            for sandbox in (fresh, forked):
                assert found_in(caller, sandbox, secret) == "True []"
    stranger.close(other)


def test_the_scan_finds_what_is_there(caller, sandbox):
    caller.run(sandbox, f"planted = {SECRET!r}")
    assert "memory" in found_in(caller, sandbox, SECRET)


def test_nothing_of_a_closed_sandbox_is_in_the_next_one(caller):
    look = "import os; print([os.listdir(d) for d in ('/workspace', '/tmp', '/dev/shm', '/dev/mqueue')])"
    with caller.sandbox() as first:
        untouched = caller.run(first, look).text()
    for _ in range(3):
        sandbox = caller.create()
        caller.run(sandbox, "for d in ('/workspace', '/tmp', '/dev/shm'): open(f'{d}/a', 'w').write('left')")
        caller.close(sandbox)
        with caller.sandbox() as following:
            assert caller.run(following, look).text() == untouched


def test_a_workspace_that_became_a_link_leads_nowhere_on_the_host(caller, sandbox, tmp_path):
    (tmp_path / "secret").write_text(SECRET)
    relink = f"import os\nos.chdir('/')\nos.rename('/workspace', '/w')\nos.symlink({str(tmp_path)!r}, '/workspace')\n"
    caller.run(sandbox, relink + "os._exit(1)")  # the next kernel's workspace is opened anew
    caller.run(sandbox, "1")
    answer = caller.http.get(f"/v1/sandboxes/{sandbox}/files/secret")
    assert answer.status_code != 200
    assert SECRET not in answer.text
    fork = caller.http.post(f"/v1/sandboxes/{sandbox}/fork", json={"n": 1})
    assert SECRET not in fork.text
