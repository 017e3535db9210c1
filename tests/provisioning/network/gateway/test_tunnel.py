"""CONNECT: what the client says in the tunnel must be for the host that it asked for."""

import contextlib
import queue
import socket
import ssl
import struct
import sys
import threading

import pytest

from .hellos import client_hello, in_records
from .internet import PUBLIC, SECONDS, connected, read_all, read_until
from .servers import HttpServer, Stub, echo, make_certificate, server_context

POLICY = {"allow": ["files.example.org", "example.net", f"{PUBLIC}:443", "*.example.com"]}
ALERT = bytes((21, 3, 3, 0, 2, 2, 112))
PORT = 443


@pytest.fixture
def tls(world, serve, tmp_path):
    """An HTTPS server, and the certificate that clients trust."""
    certificate = make_certificate(tmp_path, "files.example.org", PUBLIC)
    return serve(HttpServer(world.listen(PUBLIC, PORT), server_context(certificate))), certificate


@pytest.fixture
def echoing(world, serve):
    return serve(Stub(world.listen(PUBLIC, 7000), echo))


@pytest.fixture
def seen(world, serve):
    """What each connection to the TLS port brought."""
    parts = []
    serve(Stub(world.listen(PUBLIC, PORT), lambda sock: parts.append(read_all(sock))))
    return parts


@pytest.fixture
def sandbox(gateway):
    return gateway.open(POLICY)


def test_curl_and_python_speak_tls_through_it(gateway, sandbox, tls):
    _, certificate = tls
    for host in ("files.example.org", PUBLIC):
        done = sandbox.run("curl", "-sS", "--cacert", str(certificate), f"https://{host}/a")
        assert f"reached {PUBLIC} GET /a" in done.stdout, done.stderr
        record = gateway.record(verdict="allowed", protocol="https", host=host)
        assert record["sent"] > 300
        assert record["received"] > 300
    program = "import urllib.request; print(urllib.request.urlopen('https://files.example.org/').read())"
    done = sandbox.run(sys.executable, "-c", program, env={"SSL_CERT_FILE": str(certificate)})
    assert "reached" in done.stdout, done.stderr


def test_pip_is_told_the_policy(sandbox):
    done = sandbox.run(
        sys.executable, "-m", "pip", "download", "--retries", "1", "--disable-pip-version-check", "--no-cache-dir",
        "--index-url", "https://evil.example/simple", "nothing",
    )  # fmt: skip
    assert "403 evil.example:443 is not allowed: this sandbox's egress allows files.example.org" in done.stderr


@pytest.mark.parametrize(
    ("target", "hello", "reason"),
    [
        ("files.example.org", client_hello("evil.example"), "asks for the server name 'evil.example'"),
        ("files.example.org", client_hello("example.net"), "asks for the server name 'example.net'"),  # allowed itself
        ("files.example.org", in_records(client_hello("evil.example"), 7), "asks for the server name 'evil.example'"),
        ("files.example.org", client_hello(None), "no server name (SNI)"),
        (PUBLIC, client_hello("files.example.org"), "asks for the server name 'files.example.org'"),
        ("files.example.org", b"\x16\x03\x01\x00\x01\x02", "no ClientHello"),
        ("files.example.org", b"\x16\x03\x01\x00\x00", "no handshake"),
    ],
)
@pytest.mark.parametrize("bytewise", [False, True])
def test_tls_that_asks_for_another_name_never_reaches_the_host(
    *, gateway, seen, sandbox, target, hello, reason, bytewise
):
    with connected(sandbox, f"{target}:{PORT}") as sock:
        with contextlib.suppress(OSError):
            for part in [hello[at : at + 1] for at in range(len(hello))] if bytewise else [hello]:
                sock.sendall(part)
        assert read_all(sock) == ALERT
    assert reason in gateway.record(verdict="refused", host=target, port=PORT)["reason"]
    # The control: what agrees gets through, in as small parts.
    agreeing = in_records(client_hello(None if target == PUBLIC else target), 7)
    with connected(sandbox, f"{target}:{PORT}") as sock:
        for at in range(len(agreeing)) if bytewise else ():
            sock.sendall(agreeing[at : at + 1])
        sock.sendall(b"" if bytewise else agreeing)
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b""
    assert [each for each in seen if each] == [agreeing]


def test_a_client_sees_a_refused_server_name_as_such(sandbox, tls):
    context = ssl.create_default_context(cafile=tls[1])
    context.check_hostname = False
    with (
        pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"),
        connected(sandbox, "files.example.org:443") as sock,
    ):
        context.wrap_socket(sock, server_hostname="evil.example")


def test_a_server_that_speaks_first_is_not_kept_waiting(sandbox, world, serve):
    def banner(sock):
        sock.sendall(b"220 ready\r\n")
        echo(sock)

    serve(Stub(world.listen(PUBLIC, 25), banner))
    with connected(sandbox, "files.example.org:25") as sock:
        assert read_until(sock, b"\r\n") == b"220 ready\r\n"
        sock.sendall(b"EHLO me\r\n")
        assert read_until(sock, b"\r\n") == b"EHLO me\r\n"


@pytest.mark.usefixtures("echoing")
@pytest.mark.parametrize(
    "data", [b"ping", b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n", b"\0\0\0\x08\x04\xd2\x16\x2f", b"x" * 500_000]
)
def test_other_protocols_go_through_raw(sandbox, data):
    with connected(sandbox, "files.example.org:7000") as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == data


@pytest.mark.usefixtures("echoing")
def test_ends_and_breaks_are_carried_as_what_they_are(gateway, sandbox, world, serve):
    with connected(sandbox, "files.example.org:7000") as sock:
        sock.sendall(b"\0last words")
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock) == b"\0last words"
    assert gateway.record(verdict="allowed", protocol="tcp")["received"] == 11

    def reset(sock):
        sock.recv(1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    serve(Stub(world.listen(PUBLIC, 7001), reset))
    with connected(sandbox, "files.example.org:7001") as sock:
        sock.sendall(b"\0")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)

    broken = threading.Event()

    def expect_reset(sock):
        try:
            while sock.recv(1):
                pass
        except ConnectionResetError:
            broken.set()

    serve(Stub(world.listen(PUBLIC, 7003), expect_reset))
    with connected(sandbox, "files.example.org:7003") as sock:
        sock.sendall(b"\0")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert broken.wait(SECONDS)


HTTP = "GET /{} HTTP/1.1\r\nHost: {}\r\n\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        HTTP.format("", "evil.example"),
        HTTP.format("", "example.net"),
        "\r\n\r\n" + HTTP.format("", "evil.example"),
        "\n" + HTTP.format("", "evil.example"),
        " " + HTTP.format("", "evil.example"),
        HTTP.format("", "files.example.org:81"),
        HTTP.format("", "evil.example@files.example.org"),
        HTTP.format("", "files.example.org\r\nHost: evil.example"),
        HTTP.format("", "evil.example\r\nHost: files.example.org"),
        HTTP.format("", "files.example.org\r\n evil.example"),
        HTTP.format("", "files.example.org\nHost: evil.example"),
        HTTP.format("", "files.example.org\0"),
        HTTP.format("", PUBLIC),
        "GET http://evil.example/ HTTP/1.1\r\nHost: files.example.org\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "INVENTED / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "GET\t/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "GET / HTTP/1.1\nHost: evil.example\n\n",
        "CONNECT evil.example:443 HTTP/1.1\r\nHost: files.example.org\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: files.example.org\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_http_for_another_host_never_reaches_this_one(sandbox, http_servers, request_):
    seen = http_servers[PUBLIC].seen
    with connected(sandbox, "files.example.org:80") as sock:
        sock.sendall(request_.encode())
        assert read_all(sock).startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 400 "))
    with connected(sandbox, "files.example.org:80") as sock:
        sock.sendall(HTTP.format("first", "files.example.org").encode() + request_.encode())
        answers = read_all(sock)
        assert b"reached" in answers
        assert b"HTTP/1.1 40" in answers
    assert {(method, path, host) for _, method, path, host, _ in seen} == {("GET", "/first", "files.example.org")}


def test_an_unknown_method_in_parts_is_cut_off_before_its_request_is_whole(sandbox, world, serve):
    seen = queue.Queue()
    serve(Stub(world.listen(PUBLIC, 7002), lambda sock: seen.put(read_all(sock))))
    with connected(sandbox, "files.example.org:7002") as sock, contextlib.suppress(OSError):
        for byte in b"INVENTED / HTTP/1.1\r\nHost: evil.example\r\n\r\n":
            sock.sendall(bytes((byte,)))
        read_all(sock)
    first = seen.get(timeout=SECONDS)
    with connected(sandbox, "files.example.org:7002") as sock:  # the control: it is the version that gives it away
        sock.sendall(b"INVENTED / HTTQ/1.1\r\nHost: evil.example\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        read_all(sock)
    assert b"HTTP/" not in first
    assert b"evil" not in first
    assert seen.get(timeout=SECONDS).endswith(b"evil.example\r\n\r\n")


@pytest.mark.usefixtures("http_servers")
@pytest.mark.parametrize("host", ["files.example.org", "FILES.example.org.", "files.example.org:80"])
def test_every_spelling_of_the_host_agrees(sandbox, host):
    with connected(sandbox, "Files.Example.ORG:80") as sock:
        sock.sendall(HTTP.format("", host).encode() * 2)
        sock.sendall(f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert read_all(sock).count(b"reached") == 3


@pytest.mark.usefixtures("http_servers")
def test_the_host_sees_the_request_as_it_was_checked(sandbox):
    with connected(sandbox, "files.example.org:80") as sock:
        sock.sendall(b"\r\n\r\n" + HTTP.format("headers", "FILES.example.org:80").encode())
        assert b"Host: files.example.org\n" in read_until(sock, b"files.example.org\n")


@pytest.mark.usefixtures("echoing")
@pytest.mark.parametrize("parts", [1, 100])
def test_http2_in_clear_text_is_refused_in_its_own_words(gateway, sandbox, parts):
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
    with connected(sandbox, "files.example.org:7000") as sock:
        with contextlib.suppress(OSError):
            for part in [preface] if parts == 1 else [preface[at : at + 1] for at in range(len(preface))]:
                sock.sendall(part)
        answer = read_all(sock)
    assert answer[3] == 4  # SETTINGS
    assert answer[9 + 3] == 7  # GOAWAY
    assert b"HTTP/2 in clear text is not carried" in answer
    assert "HTTP/2" in gateway.record(verdict="refused", host="files.example.org", port=7000)["reason"]


@pytest.mark.usefixtures("http_servers")
def test_an_offer_of_http2_is_not_passed_on(sandbox):
    request = HTTP.format("headers", "files.example.org").replace(
        "\r\n\r\n", "\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
    )
    with connected(sandbox, "files.example.org:80") as sock:
        sock.sendall(request.encode())
        assert b"h2c" not in read_all(sock)


@pytest.mark.usefixtures("http_servers")
def test_the_host_header_of_connect_must_agree(sandbox):
    with sandbox.connect() as sock:
        sock.sendall(b"CONNECT files.example.org:80 HTTP/1.1\r\nHost: evil.example:80\r\n\r\n")
        assert read_all(sock).startswith(b"HTTP/1.1 403 the Host header names evil.example:80, but CONNECT's target is")
