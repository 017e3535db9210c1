import pytest

from podflare_nb.provisioning.network.gateway.client_hello import (
    MAX_BYTES,
    ClientHelloReader,
    NotTlsError,
    server_name,
)

from .hellos import client_hello, in_records


def message(*parts):
    reader = ClientHelloReader()
    return [reader.feed(part) for part in parts][-1]


@pytest.mark.parametrize("name", ["files.example.org", None])
def test_the_server_name_is_found(name):
    assert server_name(message(client_hello(name))) == name


@pytest.mark.parametrize("size", [1, 2, 3, 100, 511])
def test_a_message_may_be_split_over_records(size):
    assert server_name(message(in_records(client_hello("files.example.org"), size))) == "files.example.org"


def test_every_beginning_of_it_asks_for_more():
    hello = in_records(client_hello("files.example.org"), 50)
    assert all(message(hello[:end]) is None for end in range(len(hello)))
    assert message(*(hello[at : at + 1] for at in range(len(hello)))) == message(hello)


def test_a_message_that_does_not_end_is_given_up_after_a_bound():
    endless = b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(0x4000 - 4)
    while len(endless) <= MAX_BYTES:
        assert message(endless) is None
        endless += b"\x16\x03\x01\x40\x00" + bytes(0x4000)
    with pytest.raises(NotTlsError, match="more than"):
        message(endless)


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x00\x00",  # an empty record
        b"\x16\x03\x01\xff\xff",  # longer than records are
        b"\x16\x03\x01\x00\x01\x02",  # a ServerHello
        b"\x15\x03\x01\x00\x02\x02\x28",  # an alert
        b"\x16\x03\x01\x00\x01\x01\x17\x03\x03\x00\x01\x00",  # data in between
    ],
)
def test_other_messages_are_refused(data):
    with pytest.raises(NotTlsError):
        message(data)


def with_names(*names, kind=0):
    """A ClientHello's body with one server name extension for each list of names."""
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\0\2\x13\1" + b"\1\0"
    extensions = b""
    for each in names:
        entries = b"".join(bytes((kind,)) + len(name).to_bytes(2, "big") + name for name in each)
        listed = len(entries).to_bytes(2, "big") + entries
        extensions += b"\0\0" + len(listed).to_bytes(2, "big") + listed
    return body + len(extensions).to_bytes(2, "big") + extensions


def test_two_names_are_refused_however_they_are_told():
    assert server_name(with_names([b"a.example"])) == "a.example"
    for body in (with_names([b"a.example", b"b.example"]), with_names([b"a.example"], [b"b.example"])):
        with pytest.raises(NotTlsError, match="more than one"):
            server_name(body)


@pytest.mark.parametrize("body", [with_names([b"a"], kind=1), with_names([]), with_names([b"\xff"])])
def test_a_name_that_cannot_be_read_is_refused(body):
    with pytest.raises(NotTlsError):
        server_name(body)


def test_a_body_that_is_cut_off_is_refused():
    whole = with_names([b"a.example"])
    without_extensions = 2 + 32 + 1 + 4 + 2
    for end in set(range(len(whole))) - {without_extensions}:
        with pytest.raises(NotTlsError):
            server_name(whole[:end])
    assert server_name(whole[:without_extensions]) is None
