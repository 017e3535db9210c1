"""Requests through the real process, as programs send them, to real servers."""

import contextlib
import functools
import http.server
import socket
import subprocess
import sys
import threading

import pytest

from .internet import INTERNET, OTHER_PUBLIC, PUBLIC, SECONDS, connected, exchange, read_all, read_until
from .servers import BIG, HttpServer, Stub, echo

ALLOWED = {"allow": ["files.example.org", "*.example.com"]}
POLICY = "this sandbox's egress allows files.example.org, *.example.com"


def get(url, host, *more):
    lines = [f"GET {url} HTTP/1.1", f"Host: {host}", *more, "Connection: close", "", ""]
    return "\r\n".join(lines).encode()


@pytest.mark.usefixtures("http_servers")
def test_curl_gets_what_is_allowed_by_both_ways(gateway):
    sandbox = gateway.open(ALLOWED)
    for option in ([], ["--proxytunnel"]):
        done = sandbox.run("curl", "-sS", *option, "http://files.example.org/a?b")
        assert done.stdout == f"reached {PUBLIC} GET /a?b files.example.org 0", done.stderr


def test_a_refusal_is_quick_and_says_the_policy_in_status_line_and_body(gateway):
    sandbox = gateway.open(ALLOWED)
    for request in (get("http://evil.example/", "evil.example"), b"CONNECT evil.example:80 HTTP/1.0\r\n\r\n"):
        head, _, body = exchange(sandbox, request).decode().partition("\r\n\r\n")
        assert head.startswith(f"HTTP/1.1 403 evil.example:80 is not allowed: {POLICY}\r\n")
        assert "\r\nContent-Type: text/plain" in head
        assert body == (
            f"evil.example:80 is not allowed: {POLICY}. "
            'Change it with PATCH /v1/sandboxes/{id} {"egress": ...}.\n'
        )  # fmt: skip
        record = gateway.record(verdict="refused", host="evil.example", port=80)
        assert POLICY in record["reason"]


def test_a_host_that_cannot_be_reached_or_does_not_exist_is_told_as_such(gateway):
    sandbox = gateway.open(INTERNET)
    assert b"HTTP/1.1 502 files.example.org:81 cannot be reached" in exchange(
        sandbox, get("http://files.example.org:81/", "files.example.org:81")
    )
    assert exchange(sandbox, b"CONNECT nowhere.invalid:1 HTTP/1.1\r\nHost: nowhere.invalid:1\r\n\r\n").startswith(
        b"HTTP/1.1 502 nowhere.invalid "
    )


@pytest.mark.parametrize("listening", [PUBLIC, OTHER_PUBLIC])
def test_every_address_of_a_name_is_tried(gateway, world, serve, listening):
    sandbox = gateway.open({"allow": ["both.example.net:8081"]})
    request = b"CONNECT both.example.net:8081 HTTP/1.1\r\nHost: both.example.net:8081\r\n\r\n"
    assert b"Connection refused" in exchange(sandbox, request)
    serve(Stub(world.listen(listening, 8081), echo))
    connected(sandbox, "both.example.net:8081").close()


@pytest.mark.usefixtures("http_servers")
def test_a_connection_is_kept_for_the_next_requests(gateway):
    sandbox = gateway.open(ALLOWED)
    with sandbox.connect() as sock:
        for index in range(3):
            request = get(f"http://files.example.org/{index}", "files.example.org").replace(
                b"Connection: close\r\n", b""
            )
            sock.sendall(request)
            head = read_until(sock, b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split()[0])
            assert b" GET /%d " % index in sock.recv(length)
    assert gateway.record(verdict="allowed", protocol="http")["sent"] > 100
    done = sandbox.run(
        "curl", "-sSv", "http://files.example.org/1", "http://www.example.com/2", "http://files.example.org/3"
    )
    assert done.stdout.count("reached") == 3
    assert done.stderr.count("Re-using existing") + done.stderr.count("re-using") >= 2, done.stderr


@pytest.mark.usefixtures("http_servers")
def test_a_kept_connection_cannot_take_along_another_host(gateway):
    sandbox = gateway.open(ALLOWED)
    first = get("http://files.example.org/1", "files.example.org").replace(b"Connection: close\r\n", b"")
    answer = exchange(sandbox, first + get("http://evil.example/2", "evil.example"))
    assert b"reached" in answer
    assert b"403 evil.example:80 is not allowed" in answer


@pytest.mark.usefixtures("http_servers")
@pytest.mark.parametrize("path", ["chunked", "until-end", "big"])
@pytest.mark.parametrize("version", ["--http1.0", "--http1.1"])
def test_bodies_come_whole_however_their_end_is_told(gateway, path, version):
    sandbox = gateway.open(ALLOWED)
    done = sandbox.run("curl", "-sS", version, f"http://files.example.org/{path}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == {"chunked": "one,two,three", "until-end": "until the end", "big": "\0" * BIG}[path]


@pytest.mark.usefixtures("http_servers")
def test_a_body_that_is_cut_short_is_seen_to_be(gateway):
    done = gateway.open(ALLOWED).run("curl", "-sS", "http://files.example.org/short")
    assert done.returncode in {18, 56}, done


class SilentHost:
    """Reads a request and says nothing until ``answer``; ``left`` when the proxy has let go of it."""

    def __init__(self):
        self.asked, self.answer, self.left = threading.Event(), threading.Event(), threading.Event()

    def __call__(self, sock):
        read_until(sock, b"\r\n\r\n")
        self.asked.set()
        threading.Thread(target=self._watch, args=(sock,), daemon=True).start()
        self.answer.wait()
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
        self.left.wait()

    def _watch(self, sock):
        with contextlib.suppress(OSError):
            sock.recv(1)
        self.left.set()
        self.answer.set()


@contextlib.contextmanager
def asking(gateway, world, serve):
    """A silent host that was asked, and the client's connection, which is closed in the end."""
    host = SilentHost()
    serve(Stub(world.listen(PUBLIC, 8082), host))
    sandbox = gateway.open({"allow": ["files.example.org:8082"]})
    with sandbox.connect() as sock:
        sock.sendall(get("http://files.example.org:8082/", "files.example.org:8082"))
        assert host.asked.wait(SECONDS)
        yield host, sock


def test_a_client_that_closed_frees_its_place_while_the_host_is_silent(gateway, world, serve):
    with asking(gateway, world, serve) as (host, _):
        pass
    assert host.left.wait(SECONDS)
    gateway.record(verdict="allowed", host="files.example.org", port=8082)


def test_a_client_that_closed_half_of_its_connection_still_gets_its_answer(gateway, world, serve):
    with asking(gateway, world, serve) as (host, sock):
        sock.shutdown(socket.SHUT_WR)
        assert read_until(sock, b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")  # its end was seen
        assert not host.left.is_set()
        host.answer.set()
        assert read_all(sock).endswith(b"\r\n\r\nlate")


@pytest.mark.parametrize(
    "option",
    [
        [],
        ["-H", "Transfer-Encoding: chunked"],
        ["-H", "Expect: 100-continue"],
        ["-H", "Connection: Content-Length, Transfer-Encoding"],
    ],
)
def test_uploads_arrive_whole(gateway, http_servers, option, tmp_path):
    (tmp_path / "data").write_bytes(b"x" * BIG)
    done = gateway.open(ALLOWED).run(
        "curl", "-sS", "-T", str(tmp_path / "data"), *option, "http://files.example.org/up"
    )
    assert done.stdout.endswith(f" PUT /up files.example.org {BIG}"), done
    assert http_servers[PUBLIC].seen[-1][4] == b"x" * BIG


@pytest.mark.usefixtures("http_servers")
def test_head_and_empty_answers_have_no_body(gateway):
    done = gateway.open(ALLOWED).run("curl", "-sS", "-I", "http://files.example.org/a", "http://files.example.org/b")
    assert done.stdout.count("200 OK") == 2


@pytest.mark.usefixtures("http_servers")
def test_what_is_between_client_and_proxy_is_not_passed_on(gateway):
    sandbox = gateway.open(ALLOWED)
    more = ("Proxy-Authorization: Basic c2VjcmV0", "Proxy-Connection: keep-alive", "Connection: X-Mine, Host",
            "X-Mine: 1", "TE: trailers", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__", "X-Kept: 1")  # fmt: skip
    answer = exchange(sandbox, get("http://files.example.org/headers", "files.example.org", *more)).decode()
    headers = answer.partition("\r\n\r\n")[2]
    assert "X-Kept: 1" in headers.title()
    assert "Host: Files.Example.Org" in headers.title()
    for name in ("Proxy", "X-Mine", "Te:", "Upgrade", "Http2"):
        assert name not in headers.title()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET http://files.example.org/ HTTP/1.1\nHost: files.example.org\n\n",
        b"GET http://files.example.org/ HTTP/1.1\r\nHost: files.example.org\r\nHost: files.example.org\r\n\r\n",
        b"GET http://files.example.org/ HTTP/1.1\r\nHost: files.example.org\r\n folded\r\n\r\n",
        b"PUT http://a.b/ HTTP/1.1\r\nHost:a.b\r\nContent-Length:4\r\nTransfer-Encoding:chunked\r\n\r\n",
        b"GET http://user:password@files.example.org/ HTTP/1.1\r\nHost: files.example.org\r\n\r\n",
        b"GET http://files.example.org\0.evil.example/ HTTP/1.1\r\nHost: files.example.org\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: files.example.org\r\n\r\n",
        b"GET https://files.example.org/ HTTP/1.1\r\nHost: files.example.org\r\n\r\n",
        b"POST http://www.example.com/ HTTP/1.1\r\nHost: www.example.com\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\0\0",
        b"\x05\x01\x00\n",
    ],
)
def test_requests_that_are_none_are_answered_400_and_go_nowhere(gateway, http_servers, request_):
    sandbox = gateway.open(ALLOWED)
    with sandbox.connect() as sock:
        sock.sendall(request_ + (b"\r\n\r\n" if request_.startswith(b"\x16") else b""))
        assert read_all(sock).startswith(b"HTTP/1.1 400 Bad request: ")
    seen = [each for each in http_servers[PUBLIC].seen if each[1] != "POST"]
    assert seen == []
    assert b"reached" in exchange(sandbox, get("http://files.example.org/", "files.example.org"))  # the control


@pytest.mark.usefixtures("http_servers")
def test_a_websocket_goes_through_an_upgrade_and_is_raw_then(gateway):
    sandbox = gateway.open(ALLOWED)
    upgrade = "\r\nHost: files.example.org\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
    with sandbox.connect() as straight, connected(sandbox, "files.example.org:80") as tunnelled:
        straight.sendall(f"GET http://files.example.org/upgrade HTTP/1.1{upgrade}".encode())
        tunnelled.sendall(f"GET /upgrade HTTP/1.1{upgrade}".encode())
        for sock in (straight, tunnelled):
            assert read_until(sock, b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
            raw = b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"  # the host has agreed to another protocol
            sock.sendall(raw)
            assert read_until(sock, raw) == raw


WEBSOCKET_SERVER = """
import asyncio, sys, websockets
from pathlib import Path

async def echo(connection):
    async for message in connection:
        await connection.send(message.upper())

async def main():
    async with websockets.serve(echo, sys.argv[1], 8765):
        print("ready", flush=True)
        await asyncio.Future()

asyncio.run(main())
"""
WEBSOCKET_CLIENT = """
import asyncio, sys, websockets

async def main():
    async with websockets.connect("ws://www.example.com:8765/") as connection:
        await connection.send("hello " * 100_000)
        print(len(await connection.recv()), await connection.send("x") or await connection.recv())

asyncio.run(main())
"""


def test_the_websockets_library_works_through_it(gateway, world):
    sandbox = gateway.open(ALLOWED)
    server = subprocess.Popen(
        ["nsenter", f"--net=/proc/self/fd/{world.internet}", sys.executable, "-c", WEBSOCKET_SERVER, PUBLIC],
        pass_fds=[world.internet], stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with server:
        assert server.stdout.readline() == "ready\n"
        done = sandbox.run(sys.executable, "-c", WEBSOCKET_CLIENT)
        server.kill()
    assert done.stdout == "600000 X\n", done.stderr


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_git_clones_over_http(gateway, world, serve, tmp_path):
    """By the plain-file protocol, which any HTTP server speaks."""
    source = tmp_path / "source"
    for command in (
        ["init", "-q", str(source)],
        ["-C", str(source), "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "one"],
        ["-C", str(source), "update-server-info"],
    ):
        subprocess.run(["git", *command], check=True)
    handler = functools.partial(Quiet, directory=str(source))
    serve(HttpServer(world.listen(PUBLIC, 8082), handler=handler))
    sandbox = gateway.open({"allow": ["www.example.com:8082"]})
    done = sandbox.run("git", "clone", "-q", "http://www.example.com:8082/.git", str(tmp_path / "copy"))
    assert done.returncode == 0, done.stderr
    refused = sandbox.run("git", "clone", "-q", "http://evil.example/x.git", str(tmp_path / "none"))
    assert "403" in refused.stderr
    assert (tmp_path / "copy/.git").is_dir()
