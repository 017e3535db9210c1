"""The endpoint from outside: who may come in, whose a session is, how it ends, and what malformed requests get."""

import json
from collections.abc import Callable

import httpx
import pytest

from ..conftest import Service
from .conftest import ACCEPT, SECONDS, answer_of, connected, initialize, keys, new_key, ran, run, sandbox_of, text_of

LIST = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}


def call(code: str) -> dict:
    return {
        "jsonrpc": "2.0", "id": 3, "method": "tools/call",
        "params": {"name": "run_python", "arguments": {"code": code}},
    }  # fmt: skip


async def test_two_sessions_have_sandboxes_of_their_own(service: Service):
    async with connected(service) as one, connected(service) as other:
        await run(one, "x = 1")
        unknown = await run(other, "x")
        assert unknown.is_error
        assert "NameError" in text_of(unknown)
        # A sandbox of the same tenant can be named, by whoever knows its id.
        assert text_of(await run(other, "x", sandbox_id=sandbox_of(await run(one, "1")))) == "1"


async def test_the_end_of_a_session_ends_what_it_made_unless_it_was_to_be_kept(
    service: Service, state_of: Callable[[str], str], close: Callable[[str], None]
):
    async with connected(service) as client:
        own = sandbox_of(await run(client, "1"))
        (branch,) = (await ran(client, "fork")).structured_content["branches"]
        kept = (await ran(client, "create_sandbox", keep=True)).structured_content["sandbox_id"]
    assert [state_of(one) for one in (own, branch, kept)] == ["closed", "closed", "ready"]
    close(kept)


def test_the_end_of_a_session_interrupts_what_runs_and_ends_its_streams(
    service: Service, raw: httpx.Client, session: str, state_of: Callable[[str], str]
):
    of_session = {"Mcp-Session-Id": session}
    first = answer_of(raw.post(f"{service.url}/mcp", json=call("1"), headers=of_session))
    sandbox = first["result"]["_meta"]["podflare-nb/sandbox"]
    endless = {**call("print('on', flush=True)\nwhile True: pass"), "id": 4}
    endless["params"]["_meta"] = {"progressToken": "t"}
    with (
        raw.stream("GET", f"{service.url}/mcp", headers=of_session) as listening,
        raw.stream("POST", f"{service.url}/mcp", json=endless, headers=of_session) as running,
    ):
        assert listening.headers["Content-Type"].startswith("text/event-stream")
        lines = running.iter_lines()
        assert any("notifications/progress" in line for line in lines)
        assert raw.delete(f"{service.url}/mcp", headers=of_session).status_code == 204
        assert state_of(sandbox) == "closed"
        assert not any('"result"' in line for line in lines)
        assert listening.read() == b""
    assert raw.post(f"{service.url}/mcp", json=LIST, headers=of_session).status_code == 404


def test_a_session_is_not_there_for_another_key_even_of_the_same_tenant(
    service: Service, raw: httpx.Client, session: str, stranger_key: str
):
    of_session = {"Mcp-Session-Id": session}
    for key in (stranger_key, new_key(service, "local")):
        for method, body in (("POST", call("1")), ("GET", None), ("DELETE", None)):
            stolen = {"Authorization": f"Bearer {key}", **ACCEPT, **of_session}
            refused = httpx.request(method, f"{service.url}/mcp", json=body, headers=stolen, timeout=SECONDS)
            unknown = httpx.request(
                method, f"{service.url}/mcp", json=body, headers={**stolen, "Mcp-Session-Id": "0" * 32}, timeout=SECONDS
            )
            assert refused.status_code == 404
            assert refused.content == unknown.content
    # The control: for its own key it is there, and it was not ended.
    assert answer_of(raw.post(f"{service.url}/mcp", json=call("6*7"), headers=of_session))["result"]["content"] == [
        {"type": "text", "text": "42"}
    ]


async def test_tools_see_only_the_sandboxes_of_their_callers_tenant(service: Service, stranger_key: str):
    async with connected(service) as client, connected(service, stranger_key) as stranger:
        sandbox = sandbox_of(await run(client, "1"))
        assert (await ran(stranger, "list_sandboxes")).structured_content["sandboxes"] == []
        assert (await stranger.list_resources()).resources == []
        for tool, arguments in (("run_python", {"code": "1"}), ("download", {"path": "."}), ("destroy_sandbox", {})):
            refused = await stranger.call_tool(tool, {**arguments, "sandbox_id": sandbox})
            assert refused.is_error
            assert sandbox in text_of(refused)
        notebook = await stranger.call_tool("notebook", {"sandbox_id": sandbox})
        assert notebook.is_error
        assert text_of(await run(client, "1", sandbox_id=sandbox)) == "1"


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_without_a_known_key_there_is_a_401_that_says_how_to_send_one(service: Service, method: str):
    for headers in ({}, {"Authorization": "Bearer pfnb_wrong"}):
        refused = httpx.request(method, f"{service.url}/mcp", headers={**ACCEPT, **headers}, timeout=SECONDS)
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert refused.json()["code"] == "unauthenticated"


def test_a_login_by_cookie_and_a_host_of_somebody_else_do_not_come_in(service: Service, raw: httpx.Client):
    with httpx.Client(timeout=SECONDS) as browser:
        assert browser.get(f"{service.url}?token={service.key}", follow_redirects=True).status_code == 200
        xsrf = {"X-XSRFToken": browser.cookies.get("_xsrf", "")}
        by_cookie = browser.post(f"{service.url}/mcp", json=initialize(), headers={**ACCEPT, **xsrf})
        without = browser.post(f"{service.url}/mcp", json=initialize(), headers=ACCEPT)
    assert by_cookie.status_code == 401
    assert "Authorization" in by_cookie.json()["error"]
    assert without.status_code == 403
    elsewhere = raw.post(f"{service.url}/mcp", json=initialize(), headers={"Host": "attacker.example"})
    assert elsewhere.status_code == 403
    assert raw.post(f"{service.url}/mcp", json=initialize()).status_code == 200


def test_a_revoked_key_ends_with_the_next_request(service: Service):

    key = new_key(service, "mcp-revoked")
    headers = {"Authorization": f"Bearer {key}", **ACCEPT}
    begun = httpx.post(f"{service.url}/mcp", json=initialize(), headers=headers, timeout=SECONDS)
    headers["Mcp-Session-Id"] = begun.headers["Mcp-Session-Id"]
    assert httpx.post(f"{service.url}/mcp", json=LIST, headers=headers, timeout=SECONDS).status_code == 200
    (known,) = [one for one in json.loads(keys(service, "list", "--json")) if one["tenant"] == "mcp-revoked"]
    keys(service, "revoke", known["id"])
    assert httpx.post(f"{service.url}/mcp", json=LIST, headers=headers, timeout=SECONDS).status_code == 401


def code_of(response: httpx.Response) -> int:
    assert response.headers["Content-Type"] == "application/json"
    return response.json()["error"]["code"]


def test_malformed_requests_are_refused_and_begin_nothing(service: Service, raw: httpx.Client, session: str):
    url = f"{service.url}/mcp"
    not_json = raw.post(url, content=b"{nope")
    deep = raw.post(url, content=b"[" * 100_000)
    batch = raw.post(url, json=[initialize()])
    no_session = raw.post(url, json=LIST)
    no_rpc = raw.post(url, json={"hello": "world"})
    bad_initialize = raw.post(url, json={"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}})
    listening = raw.get(url)
    unknown = raw.post(url, json=LIST, headers={"Mcp-Session-Id": "0" * 32})
    ending = raw.delete(url)
    as_text = raw.post(url, json=initialize(), headers={"Accept": "text/html"})
    put = raw.put(url, json=initialize())
    assert [one.status_code for one in (not_json, deep, batch, no_session, no_rpc, listening, ending)] == [400] * 7
    assert code_of(not_json) == -32700
    assert unknown.status_code == 404
    assert as_text.status_code == 406
    assert put.status_code == 405
    assert answer_of(bad_initialize)["error"]["code"] == -32602
    for nonsense in ({**LIST, "method": "no/such"}, {**LIST, "method": "tools/call", "params": {"name": 3}}):
        answer = answer_of(raw.post(url, json=nonsense, headers={"Mcp-Session-Id": session}))
        assert answer["error"]["code"] in {-32601, -32602}


@pytest.mark.parametrize("version", ["2026-07-28", "1999-01-01", "x" * 500])
def test_versions_that_know_no_sessions_are_told_which_do(service: Service, raw: httpx.Client, version: str):
    refused = raw.post(f"{service.url}/mcp", json=LIST, headers={"MCP-Protocol-Version": version})
    assert refused.status_code == 400
    assert refused.json()["id"] == 2
    assert code_of(refused) == -32022
    assert refused.json()["error"]["data"]["supported"][-1] == "2025-11-25"


def test_an_initialize_of_an_unknown_version_is_offered_ours(service: Service, raw: httpx.Client):
    begun = raw.post(f"{service.url}/mcp", json=initialize("2099-01-01"))
    assert answer_of(begun)["result"]["protocolVersion"] == "2025-11-25"
    raw.delete(f"{service.url}/mcp", headers={"Mcp-Session-Id": begun.headers["Mcp-Session-Id"]})


def test_a_body_over_the_limit_is_refused(service: Service, raw: httpx.Client, session: str):
    headers = {"Mcp-Session-Id": session}
    too_large = raw.post(f"{service.url}/mcp", content=b" " * (9 << 20), headers=headers)
    chunked = raw.post(f"{service.url}/mcp", content=(b" " * (1 << 20) for _ in range(9)), headers=headers)
    assert [too_large.status_code, chunked.status_code] == [413, 413]
    assert too_large.json()["code"] == "too_large"
