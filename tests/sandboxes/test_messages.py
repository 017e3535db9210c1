"""Building, signing and opening messages; nothing a kernel sends can do more than be refused."""

import json

import pytest
from jupyter_client.session import Session

from podflare_nb.sandboxes.messages import Codec, MalformedError, parse

KEY = "0123456789abcdef"


def message(kind="stream", content=None, *, key=KEY, parent=None):
    session = Session(key=key.encode())
    made = session.msg(kind, content or {}, parent=parent)
    return [b"topic", *session.serialize(made)]


@pytest.fixture
def codec():
    return Codec(KEY, "session")


def test_a_request_is_what_jupyter_client_understands(codec):
    msg_id, frames = codec.request("execute_request", {"code": "print('ü')"})
    received = Session(key=KEY.encode()).deserialize(frames[1:])
    assert received["content"] == {"code": "print('ü')"}
    assert received["header"]["msg_id"] == msg_id
    assert received["header"]["msg_type"] == "execute_request"


def test_what_jupyter_client_sends_is_opened(codec):
    opened = codec.open(message(content={"name": "stdout", "text": "x"}))
    assert (opened.kind, opened.parent_id, opened.content()["text"]) == ("stream", "", "x")


def test_a_message_with_the_wrong_key_is_refused(codec):
    with pytest.raises(MalformedError, match="signature"):
        codec.open(message(key="another"))


@pytest.mark.parametrize("index", [1, 2, 3, 4, 5, 6])
def test_a_changed_frame_is_refused(codec, index):
    frames = message()
    frames[index] += b" "
    with pytest.raises(MalformedError):
        codec.open(frames)


@pytest.mark.parametrize("frames", [[], [b""], [b"<IDS|MSG>"], [b"x"] * 300, [b"<IDS|MSG>", b"", b"", b"", b""]])
def test_too_few_frames_are_refused(codec, frames):
    with pytest.raises(MalformedError):
        codec.open(frames)


def signed(codec, header=b"{}", parent=b"{}", content=b"{}"):
    parts = [header, parent, b"{}", content]
    return [b"<IDS|MSG>", codec._sign(parts), *parts]


@pytest.mark.parametrize(
    "header",
    [b"", b"[]", b"null", b'{"msg_type": 5}', b"\xff\xff", b"[" * 100_000, b'{"msg_type": "' + b"x" * 20_000 + b'"}'],
)
def test_a_header_that_is_none_is_refused(codec, header):
    with pytest.raises(MalformedError):
        codec.open(signed(codec, header))


def test_a_parent_with_a_wrong_type_is_refused(codec):
    with pytest.raises(MalformedError):
        codec.open(signed(codec, b'{"msg_type": "stream"}', b'{"msg_id": {}}'))


def test_a_cut_message_opens_without_content(codec):
    opened = codec.open(message(parent={"header": {"msg_id": "me"}}), dropped=10**9)
    assert (opened.parent_id, opened.size) == ("me", 10**9)
    with pytest.raises(MalformedError):
        opened.content()


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
        b'{"a": ' + b"9" * 100_000 + b"}",
        b'{"a": [' + b"{}," * 3_000_000 + b"{}]}",
        b"",
        b"1",
    ],
)
def test_content_that_would_be_too_much_is_refused(data):
    with pytest.raises(MalformedError):
        parse(data)


def test_what_python_takes_for_json_is_understood():
    assert parse(b'{"a": "\xff\\ud800", "b": "\xc3\xbc"}') == {"a": "\ufffd?", "b": "ü"}
    assert str(parse(b'{"a": NaN}')) == "{'a': nan}"


def test_what_was_parsed_can_always_be_written():
    json.dumps(parse(b'{"\\udc80": ["\\ud800", {"x": "\\udfff"}]}')).encode("utf-8")
