import pytest

from podflare_nb.provisioning.network.gateway import request_head
from podflare_nb.provisioning.network.gateway.request_head import BadRequestError, end_of_head, parse


def read(text):
    raw = text if isinstance(text, bytes) else text.encode()
    end = end_of_head(raw)
    assert end == len(raw)
    return parse(raw)


def test_a_request_is_read_as_it_stands():
    head = read(
        "POST http://Files.Example.org:8080/a?b=c HTTP/1.1\r\nHost: files.example.org:8080\r\nX: \t1 2 \r\n\r\n"
    )
    assert (head.method, head.version) == ("POST", "1.1")
    assert head.target_uri() == (("files.example.org", 8080), "/a?b=c")
    assert head.host(80) == ("files.example.org", 8080)
    assert head.values(b"x") == [b"1 2"]


@pytest.mark.parametrize("target", ["http://a.example", "HTTP://A.EXAMPLE./", "http://a.example:80/?"])
def test_an_absolute_target_gives_its_host_in_one_spelling(target):
    host, path = read(f"GET {target} HTTP/1.0\r\n\r\n").target_uri()
    assert host == ("a.example", 80)
    assert path in {"/", "/?"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("GET / HTTP/1.1\nHost: a\n\n", "CR LF"),
        ("GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", "CR LF"),
        ("GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n", "CR LF"),
        ("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", "folded"),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", "folded"),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "no header"),
        ("GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", "no header"),
        ("GET / HTTP/1.1\r\nHost: a\x1fb\r\n\r\n", "no header"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "more than one Host"),
        ("GET / HTTP/1.1\r\n\r\n", "no Host"),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", "Content-Length"),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", "Content-Length"),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", "Content-Length"),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "and a Transfer"),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n", "not chunked"),
        ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", "not chunked"),
        ("GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "not chunked"),
        ("GET /\r\n\r\n", "request line"),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "request line"),
        ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", "request line"),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "request line"),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", "request line"),
        ("G\0T / HTTP/1.1\r\nHost: a\r\n\r\n", "request line"),
        ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", "request line"),
        ("GET / HTTP/1.1\r\nHost: a\r\n" + "X: y\r\n" * 200 + "\r\n", "headers"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(text, reason):
    with pytest.raises(BadRequestError, match=reason):
        read(text)


@pytest.mark.parametrize(
    "host",
    [
        "user@a.example", "user:pw@a.example", "a.example@b.example", "a.example%00.b.example", "a.example\\@b", "a b",
        "0x7f.1", "127.1", "2130706433", "0177.0.0.1", "[::1%25lo]", "[::1%lo]", "a..example", "[::1", "a.example:0",
        "a.example:65536", "a.example:٣", "", "-", "a.example:80:80",
    ],
)  # fmt: skip
def test_a_host_in_a_doubtful_spelling_is_refused_wherever_it_stands(host):
    for text in (f"GET http://{host}/ HTTP/1.1\r\nHost: a\r\n\r\n", f"CONNECT {host} HTTP/1.1\r\nHost: a\r\n\r\n"):
        with pytest.raises(BadRequestError):
            target(text)
    with pytest.raises(BadRequestError):
        read(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").host(80)


def target(text):
    head = read(text)
    return head.target_host() if head.method == "CONNECT" else head.target_uri()


@pytest.mark.parametrize("target", ["https://a.example/", "ftp://a.example/", "file:///etc/passwd", "http:a.example"])
def test_other_schemes_are_told_what_a_proxy_takes(target):
    with pytest.raises(BadRequestError, match=r"CONNECT host:port and http://"):
        read(f"GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n").target_uri()


def test_a_head_without_end_is_bounded():
    assert end_of_head(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10) == 0
    with pytest.raises(BadRequestError, match="bytes"):
        end_of_head(b"GET / HTTP/1.1\r\nX: " + b"y" * request_head.MAX_HEAD_BYTES)


@pytest.mark.parametrize(
    "text", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\n\r\n", b"GET /\rX: \r\n\r\n"]
)
def test_a_head_that_comes_byte_by_byte_is_found_as_a_whole_one_is(text):
    def slowly():
        for count in range(1, len(text) + 1):
            if end := end_of_head(text[:count], count - 1):
                return end
        return 0

    if b"\n\r\n" in text.replace(b"\r\n\r\n", b"") or b"/\rX" in text:
        for find in (slowly, lambda: end_of_head(text)):
            with pytest.raises(BadRequestError, match="CR LF"):
                find()
    else:
        assert slowly() == end_of_head(text) == len(text)
