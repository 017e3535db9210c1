"""What a sandbox serves, by HTTP and websockets through the service: streamed, bounded, and as its owner."""

import base64
import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from ..conftest import Service
from .conftest import assert_refused, run
from .ports_harness import ANY_BYTES, PORT, Served, serve

MIB = 1 << 20
SECONDS = 60


@pytest.fixture(scope="module")
def served(http: httpx.Client, shared_sandbox: str) -> Served:
    return serve(http, shared_sandbox)


def echoed(answer: httpx.Response) -> dict:
    assert answer.status_code == 200, answer.text
    return answer.json()


def header(said: dict, name: str) -> list[str]:
    return [value for key, value in said["headers"] if key.lower() == name.lower()]


def any_bytes(served: Served, data: bytes, **more) -> httpx.Response:
    return served.http.get(served.path(base64.urlsafe_b64encode(data).decode(), ANY_BYTES), **more)


@contextlib.contextmanager
def websocket(served: Served, url: str, **more):
    headers = more.pop("additional_headers", {"Authorization": served.http.headers["Authorization"]})
    with connect(
        url.replace("http", "ws", 1), additional_headers=headers, open_timeout=SECONDS, close_timeout=SECONDS,
        max_size=64 * MIB, proxy=None, **more,
    ) as opened:  # fmt: skip
        yield opened


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_every_method_and_the_url_as_it_was_sent_reach_the_program(served: Served, method: str):
    said = echoed(
        served.http.request(method, served.path("echo/%C3%A9%2F..%2f/%FF;a=b/~v.x?q=%20+&q=1"), content=b"ab")
    )
    assert (said["method"], said["length"]) == (method, 2)
    assert said["uri"] == "/echo/%C3%A9%2F..%2f/%FF;a=b/~v.x?q=%20+&q=1"


def test_a_program_sees_itself_at_localhost_and_where_it_really_is_in_forwarded_headers(served: Served):
    headers = {
        "X-Forwarded-Host": "lie.example",
        "X-Forwarded-For": "1.2.3.4",
        "X-Real-IP": "1.2.3.4",
        "X-Own": b"\xe9",
    }
    said = echoed(served.http.get(served.path("echo"), headers={**headers, "Connection": "close, X-Hop", "X-Hop": "1"}))
    outside = urlsplit(str(served.http.base_url)).netloc
    assert header(said, "Host") == [f"localhost:{PORT}"]
    assert header(said, "X-Forwarded-Host") == [outside]
    assert header(said, "X-Forwarded-For") == ["127.0.0.1"]
    assert header(said, "X-Forwarded-Proto") == ["http"]
    assert header(said, "X-Forwarded-Prefix") == [f"/podflare/sandboxes/{served.sandbox}/ports/{PORT}"]
    assert header(said, "X-Real-IP") == header(said, "X-Hop") == []
    assert header(said, "X-Own") == ["é"]


def test_neither_the_key_nor_a_cookie_of_the_service_reaches_the_program(served: Served, service: Service):
    said = json.dumps(echoed(served.http.get(served.path("echo"), headers={"Cookie": "_xsrf=2|x; podflare-nb-x=y"})))
    assert service.key not in said
    assert "_xsrf" not in said
    assert "podflare-nb-x" not in said
    with httpx.Client(timeout=SECONDS) as visitor:
        url = served.link()
        own = echoed(visitor.get(f"{url}echo", headers={"Authorization": "Bearer the-program's-own"}))
        assert header(own, "Authorization") == ["Bearer the-program's-own"]
        ours = echoed(visitor.get(f"{url}echo", headers={"Authorization": f"token {service.key}"}))
        assert header(ours, "Authorization") == []


def test_a_gibibyte_goes_up_and_down_within_bounded_memory(served: Served, service: Service):
    def body() -> Iterator[bytes]:
        yield from repeat(b"z" * MIB, 1024)

    before = memory(service)
    up = echoed(served.http.put(served.path("echo"), content=body()))
    assert up["length"] == 1024 * MIB
    with served.http.stream("GET", served.path("download?mib=1024&length=1")) as down:
        assert down.headers["Content-Length"] == str(1024 * MIB)
        assert sum(map(len, down.iter_raw())) == 1024 * MIB
    assert memory(service, "VmHWM") - before < 64 * 1024, "in KiB"


def memory(service: Service, which: str = "VmRSS") -> int:
    """In KiB. The highest (VmHWM) counts from the last call on."""
    process = Path(f"/proc/{service.process.pid}")
    lines = (process / "status").read_text().splitlines()
    (process / "clear_refs").write_text("5")
    return int(next(line for line in lines if line.startswith(which)).split()[1])


def test_a_program_that_answers_while_it_reads_does_not_block(served: Served):
    data = os.urandom(MIB)
    host = urlsplit(str(served.http.base_url))
    with socket.create_connection((host.hostname, host.port), timeout=SECONDS) as sock:
        sock.sendall(
            f"POST {urlsplit(served.path('mirror')).path} HTTP/1.1\r\nHost: {host.netloc}\r\n"
            f"Authorization: {served.http.headers['Authorization']}\r\nContent-Length: {32 * MIB}\r\n"
            "Connection: close\r\n\r\n".encode()
        )  # fmt: skip
        sender = threading.Thread(target=lambda: [sock.sendall(data) for _ in range(32)])
        sender.start()
        count = sum(len(part) for part in iter(lambda: sock.recv(MIB), b""))
        sender.join(SECONDS)
    assert count > 32 * MIB


def test_events_are_told_as_they_are_made(served: Served):
    with served.http.stream("GET", served.path("events")) as stream:
        assert stream.headers["Content-Type"] == "text/event-stream"
        lines = (line for line in stream.iter_lines() if line)
        assert next(lines) == "data: 0"
        for word in ("one", "two"):
            assert served.http.post(served.path(f"events?say={word}")).status_code == 200
            assert next(lines) == f"data: {word}"
        served.http.post(served.path("events?say=end"))
        assert list(lines) == []


def test_ranges_heads_and_statuses_are_the_programs(served: Served):
    query = 'headers?status=206&header=Content-Range:bytes 0-3/9&header=ETag:"x"&header=Content-Type:text/x-odd'
    part = served.http.get(served.path(query), headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.headers["Content-Range"], part.headers["ETag"]) == (206, "bytes 0-3/9", '"x"')
    assert part.headers["Content-Type"] == "text/x-odd"
    head = served.http.head(served.path("headers?header=X-A:b"))
    assert (head.status_code, head.headers["X-A"], head.headers["Content-Length"], head.content) == (200, "b", "4", b"")
    assert "Content-Type" not in head.headers
    for status in (204, 304, 404, 418, 500, 599):
        answer = served.http.get(served.path(f"headers?status={status}"))
        assert (answer.status_code, answer.text) == (status, "" if status in {204, 304} else "said")


def test_an_answer_that_ends_too_early_is_cut_and_not_passed_off_as_whole(served: Served):
    with pytest.raises(httpx.RemoteProtocolError):
        any_bytes(served, b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort")
    whole = any_bytes(served, b"HTTP/1.0 200 OK\r\n\r\nto the end")
    assert whole.text == "to the end"


@pytest.mark.parametrize(
    "said",
    [
        b"not HTTP at all",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_told_as_502(served: Served, said: bytes):
    assert_refused(any_bytes(served, said), 502, "unreachable")


def test_a_head_without_an_end_is_not_kept(served: Served):
    assert_refused(served.http.get(served.path("endless-head", ANY_BYTES)), 502, "unreachable")


def test_an_answer_cannot_smuggle_another_one_behind_it(served: Served):
    two = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    for _ in range(2):
        assert any_bytes(served, two).text == "ok"
    both = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    answer = any_bytes(served, both)
    assert (answer.status_code, answer.text) in {(200, "ok"), (502, answer.text)}
    assert not {"content-length", "transfer-encoding"} <= set(answer.headers)


@pytest.mark.parametrize(
    "smuggled",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /echo/smuggled HTTP/1.1\r\n\r\n",
        b"Content-Length: 4\r\nContent-Length: 9\r\n\r\nabcdefghi",
        b"Transfer-Encoding: xchunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\nGET /echo/smuggled HTTP/1.1\r\n\r\n",
    ],
)
def test_a_request_cannot_smuggle_another_one_behind_it(served: Served, smuggled: bytes):
    host = urlsplit(str(served.http.base_url))
    with socket.create_connection((host.hostname, host.port), timeout=SECONDS) as sock:
        head = (
            f"POST {urlsplit(served.path('echo')).path} HTTP/1.1\r\nHost: {host.netloc}\r\nConnection: close\r\n"
            f"Authorization: {served.http.headers['Authorization']}\r\n"
        )
        sock.sendall(head.encode() + smuggled)
        sock.shutdown(socket.SHUT_WR)
        said = b"".join(iter(lambda: sock.recv(MIB), b""))
    assert b"smuggled" not in said
    assert said.count(b"HTTP/1.1 200") <= 1


def test_where_nothing_listens_a_sentence_says_what_to_do(served: Served):
    url = served.path("", 4444)
    assert_refused(
        served.http.get(url), 502, "unreachable", "Nothing listens on port 4444", "python -m http.server 4444"
    )
    page = served.http.get(url, headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["Content-Type"]) == (502, "text/html; charset=utf-8")
    assert "Nothing listens on port 4444 in this sandbox" in page.text
    assert page.headers["Content-Security-Policy"].startswith("sandbox allow-scripts")


@pytest.mark.parametrize("port", ["0", "65536", "x", "-1", "٣", "00080000"])
def test_what_is_no_port_is_refused(served: Served, port: str):
    url = f"{served.http.base_url}sandboxes/{served.sandbox}/ports/{port}/"
    assert_refused(served.http.get(url), 400, "invalid_argument", "is no port")
    made = served.http.post(f"/v1/sandboxes/{served.sandbox}/ports/{port}/links", json={})
    assert_refused(made, 400, "invalid_argument", "is no port")


def test_foreign_sandboxes_are_not_there_and_nobody_is_let_in(served: Served, stranger: httpx.Client, nobody):
    assert_refused(stranger.get(served.path("echo")), 404, "not_found", "no sandbox")
    assert_refused(stranger.get(f"/v1/sandboxes/{served.sandbox}/ports"), 404, "not_found")
    assert_refused(stranger.post(f"/v1/sandboxes/{served.sandbox}/ports/{PORT}/links"), 404, "not_found")
    assert_refused(nobody.get(served.path("echo")), 401, "unauthenticated")
    assert_refused(nobody.post(served.path("echo")), 401, "unauthenticated")
    page = nobody.get(served.path("echo"), headers={"Accept": "text/html"})
    assert (page.status_code, urlsplit(page.headers["Location"]).path) == (302, "/login")


def test_what_listens_is_listed(served: Served):
    listed = served.http.get(f"/v1/sandboxes/{served.sandbox}/ports")
    assert listed.headers["Cache-Control"] == "no-store"
    by_port = {each["port"]: each for each in listed.json()}
    assert (by_port[PORT]["address"], by_port[ANY_BYTES]["address"]) == ("127.0.0.1", "::1")
    assert by_port[PORT]["process"].startswith("python")
    assert by_port[PORT]["url"] == served.path()


def test_a_fork_lists_and_reaches_what_its_family_serves(served: Served):
    (child,) = served.http.post(f"/v1/sandboxes/{served.sandbox}/fork", json={"n": 1}).json()["children"]
    try:
        (listed,) = [p for p in served.http.get(f"/v1/sandboxes/{child}/ports").json() if p["port"] == PORT]
        assert listed["process"] is None
        assert served.http.get(Served(served.http, child).path("echo")).status_code == 200
    finally:
        served.http.delete(f"/v1/sandboxes/{child}")


def test_websockets_carry_text_bytes_subprotocols_and_close_codes(served: Served):
    with websocket(served, served.path("socket"), subprotocols=["first", "second"]) as opened:
        assert opened.subprotocol == "second"
        opened.send("text é")
        assert opened.recv(SECONDS) == "text é"
        data = os.urandom(3 * MIB)
        opened.send(data)
        assert opened.recv(SECONDS) == data
        assert opened.ping().wait(SECONDS)
        opened.send("pinged?")
        assert opened.recv(SECONDS) == "1"
        opened.send("headers")
        said = json.loads(opened.recv(SECONDS))
        assert header(said, "Host") == [f"localhost:{PORT}"]
        assert header(said, "Authorization") == []
        opened.send("close 4321")
        with pytest.raises(ConnectionClosed):
            opened.recv(SECONDS)
        assert (opened.close_code, opened.close_reason) == (4321, "as told")


def test_a_websocket_reader_that_is_slow_slows_the_program_and_fills_no_memory(served: Served, service: Service):
    before = memory(service)
    with websocket(served, served.path("socket")) as opened:
        opened.send("flood 200")
        opened.recv(SECONDS)
        assert served.http.get(served.path("echo"), timeout=SECONDS).status_code == 200
        for _ in range(199):
            assert len(opened.recv(SECONDS)) == MIB
    assert memory(service, "VmRSS") - before < 64 * 1024, "in KiB"


def test_a_websocket_that_a_program_refuses_is_refused(served: Served):
    with pytest.raises(InvalidStatus) as refused, websocket(served, served.path("echo")):
        pass
    assert refused.value.response.status_code == 200
    with pytest.raises(InvalidStatus) as refused, websocket(served, served.path("", 4444)):
        pass
    assert refused.value.response.status_code == 502


def test_a_program_cannot_open_a_tunnel_that_was_not_agreed(served: Served):
    lie = b"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"
    path = base64.urlsafe_b64encode(lie).decode()
    with pytest.raises(InvalidStatus) as refused, websocket(served, served.path(path, ANY_BYTES)):
        pass
    assert refused.value.response.status_code == 502


def test_connections_are_bounded_and_all_are_given_back(served: Served):
    host = urlsplit(str(served.http.base_url))
    request = (
        f"GET {urlsplit(served.path('silence', ANY_BYTES)).path} HTTP/1.1\r\nHost: {host.netloc}\r\n"
        f"Authorization: {served.http.headers['Authorization']}\r\n\r\n"
    ).encode()
    with contextlib.ExitStack() as open_ones:
        for _ in range(128):
            sock = open_ones.enter_context(socket.create_connection((host.hostname, host.port), timeout=SECONDS))
            sock.sendall(request)
        refused = until_status(served, 503)
        assert "as many as there may be" in refused.json()["error"]
        assert int(refused.headers["Retry-After"]) >= 1
    assert until_status(served, 200)


def until_status(served: Served, status: int) -> httpx.Response:
    deadline = time.monotonic() + SECONDS
    while (answer := served.http.get(served.path("echo"))).status_code != status:
        assert time.monotonic() < deadline, answer.text
    return answer


def test_what_ends_with_its_sandbox_is_told(http: httpx.Client, sandbox: str):
    served = serve(http, sandbox)
    link = served.link()
    with websocket(served, served.path("socket")) as opened:
        assert http.delete(f"/v1/sandboxes/{sandbox}").status_code == 204
        with pytest.raises(ConnectionClosed):
            opened.recv(SECONDS)
    assert_refused(http.get(served.path("echo")), 410, "gone")
    assert_refused(http.get(f"/v1/sandboxes/{sandbox}/ports"), 410, "gone")
    assert_refused(httpx.get(f"{link}echo", timeout=SECONDS), 404, "not_found", "its sandbox has ended")


def test_using_a_port_is_using_its_sandbox(served: Served):
    was = served.http.get(f"/v1/sandboxes/{served.sandbox}").json()["last_active_at"]
    served.http.get(served.path("echo"))
    assert served.http.get(f"/v1/sandboxes/{served.sandbox}").json()["last_active_at"] > was


def test_a_kernel_that_dies_leaves_its_server_no_ghost(http: httpx.Client, sandbox: str):
    served = serve(http, sandbox)
    run(http, sandbox, "import os; os._exit(1)")
    run(http, sandbox, "1")
    assert http.get(f"/v1/sandboxes/{sandbox}/ports").json() == []
    assert_refused(http.get(served.path("echo")), 502, "unreachable")
