import pytest

from podflare_nb.client.http1 import AnswerReader, authority_and_target, head_bytes
from podflare_nb.client.transport import CutError, Request

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"6\r\nfirst\n\r\n8;x=y\r\nsecond\r\n\r\n0\r\nAfter: all\r\n\r\n"
)
MEASURED = (
    b"HTTP/1.1 100 Continue\r\n\r\n"
    b"HTTP/1.1 201 Created\r\nContent-Length: 14\r\nX-One: a\r\nx-one: b\r\n\r\nfirst\nsecond\r\n"
)


def read(stream, size, method="GET"):
    reader = AnswerReader(method)
    body = b"".join(reader.feed(stream[at : at + size]) for at in range(0, len(stream), size))
    return reader, body


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, 1000])
@pytest.mark.parametrize("stream", [CHUNKED, MEASURED])
def test_a_body_is_the_same_however_the_bytes_arrive(stream, size):
    reader, body = read(stream, size)
    assert body == b"first\nsecond\r\n"
    assert (reader.done, reader.reusable) == (True, True)


def test_an_interim_answer_is_passed_over_and_repeated_headers_are_joined():
    reader, _ = read(MEASURED, 1000)
    assert (reader.status, reader.headers) == (201, {"content-length": "14", "x-one": "a, b"})


@pytest.mark.parametrize(
    ("head", "method"),
    [
        (b"HTTP/1.1 204 No Content", "DELETE"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5", "HEAD"),
        (b"HTTP/1.1 304 x", "GET"),
    ],
)
def test_an_answer_without_a_body_is_done_with_its_head(head, method):
    reader, body = read(head + b"\r\n\r\n", 1000, method)
    assert (reader.done, reader.reusable, body) == (True, True, b"")


def test_a_body_without_a_length_ends_with_its_connection_which_is_not_used_again():
    reader, body = read(b"HTTP/1.1 200 OK\r\n\r\nall there is", 4)
    assert (body, reader.done) == (b"all there is", False)
    reader.end()
    assert (reader.done, reader.reusable) == (True, False)


@pytest.mark.parametrize("stream", [CHUNKED[:-2], MEASURED[:-1], b"HTTP/1.1 200 OK\r\nContent-Len", b""])
def test_an_answer_that_ends_early_is_cut(stream):
    reader, _ = read(stream, 1000)
    with pytest.raises(CutError):
        reader.end()


@pytest.mark.parametrize(
    "stream",
    [
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 5000,
        b"H" * 70_000,
    ],
)
def test_what_is_no_http_is_refused(stream):
    with pytest.raises(CutError):
        read(stream, 100_000)


@pytest.mark.parametrize("more", [MEASURED, CHUNKED])
def test_a_connection_with_bytes_behind_an_answer_is_not_used_again(more):
    assert not read(more + b"x", 1000)[0].reusable
    assert not read(more + b"x", 1)[0].reusable


def test_a_connection_that_the_service_means_to_close_is_not_used_again():
    assert not read(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 1000)[0].reusable
    assert not read(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", 1000)[0].reusable


def test_a_path_cannot_break_out_of_its_request():
    authority, target = authority_and_target("http://me@here:1/a b\u00e9%2E?x=1#there")
    assert (authority, target) == ("here:1", "/a%20b%C3%A9%2E?x=1")
    head = head_bytes(Request("GET", "http://here/x HTTP/1.1\r\nEvil: 1", {}), in_pieces=False)
    assert head.count(b"\r\n") == 3
    with pytest.raises(ValueError, match="line break"):
        head_bytes(Request("GET", "http://here/", {"X": "a\r\nEvil: 1"}), in_pieces=False)
