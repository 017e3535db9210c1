import pytest

from podflare_nb.provisioning.network.gateway.first_bytes import MAX_LINE, FirstBytes, Kind

from .hellos import client_hello


def fed(*parts):
    """Kind, and what was let go before it was known."""
    first, passed, kind = FirstBytes(), b"", Kind.UNKNOWN
    for part in parts:
        kind = first.feed(part)
        if kind is not Kind.UNKNOWN:
            break
        passed += first.take_passable()
    assert passed + bytes(first.held) == b"".join(parts[: parts.index(part) + 1])
    return kind, passed


def bytewise(data):
    first, passed = FirstBytes(), b""
    for index in range(len(data)):
        kind = first.feed(data[index : index + 1])
        if kind is not Kind.UNKNOWN:
            return kind, passed
        passed += first.take_passable()
    return Kind.UNKNOWN, passed


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Kind.HTTP),
        (b"\r\n\r\nGET / HTTP/1.1\r\n", Kind.HTTP),
        (b"\n GET / HTTP/1.1\r\n", Kind.HTTP),
        (b"GET\t/ HTTP/1.1\r\n", Kind.HTTP),
        (b"GET / http/1.1\r\n", Kind.HTTP),
        (b"INVENTED / HTTP/1.1\r\n", Kind.HTTP),
        (b"INVENTED / HTTP/1.1\r", Kind.HTTP),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Kind.HTTP2),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Kind.RAW),
        (b"SSH-2.0-OpenSSH 9.2\r\n", Kind.RAW),
        (b"\0\0\0\x08\x04\xd2\x16\x2f", Kind.RAW),  # PostgreSQL asks for TLS
        (b"*1\r\n$4\r\nPING\r\n", Kind.RAW),  # Redis
        (b"get key\r\n", Kind.RAW),  # memcached
        (b"EHLO a.example\r\n", Kind.RAW),
        (b"\x10\x1a\0\4MQTT", Kind.RAW),
        (client_hello("a.example"), Kind.TLS),
    ],
)
def test_protocols_are_known_by_their_first_bytes_whole(data, kind):
    assert fed(data) == (kind, b"")


@pytest.mark.parametrize("method", [b"GET", b"POST", b"PROPFIND", b"PRI"])
def test_a_request_that_comes_byte_by_byte_is_held_back_whole(method):
    assert bytewise(method + b" / HTTP/1.1\r\n") == (Kind.HTTP, b"")


def test_tls_that_comes_byte_by_byte_is_held_back_whole():
    assert bytewise(client_hello("a.example")) == (Kind.TLS, b"")


def test_a_request_with_an_unknown_method_is_cut_off_before_it_is_whole():
    kind, passed = bytewise(b"INVENTED / HTTP/1.1\r\nHost: evil\r\n\r\n")
    assert kind is Kind.CUT
    assert b"HTTP/" not in passed
    assert fed(b"INVENTED / HTT", b"P/1.1\r\nHost: evil\r\n\r\n")[0] is Kind.CUT


def test_blank_lines_go_on_and_what_follows_is_still_watched():
    assert fed(b"\r\n", b"\r\n", b"GET / HTTP/1.1\r\n") == (Kind.HTTP, b"\r\n\r\n")


@pytest.mark.parametrize("data", [b"hello", b"SSH", b"hello world", b"\r\n", b"a" * 1000])
def test_what_cannot_be_a_request_waits_for_nothing(data):
    assert bytewise(data) == (Kind.UNKNOWN, data)


def test_a_line_without_end_is_given_up_after_a_bound():
    assert fed(b"x" * MAX_LINE, b"x")[0] is Kind.RAW
    assert fed(b"GET /", b"x" * MAX_LINE)[0] is Kind.HTTP  # and as a request's head it is too long
