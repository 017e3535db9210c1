import pytest

from podflare_nb.client import UnexpectedAnswerError
from podflare_nb.client.events import ChatEvent, Event, LineSplitter, events_of


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_lines_are_whole_however_the_bytes_arrive(size):
    stream = b'{"a":1}\n\n{"b":"' + b"x" * 50 + b'"}\nrest'
    splitter = LineSplitter()
    lines = []
    for start in range(0, len(stream), size):
        lines += splitter.feed(stream[start : start + size])
    assert lines == [b'{"a":1}', b'{"b":"' + b"x" * 50 + b'"}']
    assert splitter.rest() == b"rest"


GOOD = b'{"type":"stdout","data":"a","seq":0,"ts":5}'


def test_fields_beside_the_four_are_kept():
    first, last = events_of([GOOD, b'{"type":"exit","data":0,"seq":3,"ts":5,"status":"ok"}'], ChatEvent)
    assert (first, first.fields) == (ChatEvent("stdout", "a", 0, 5), {})
    assert (last.type, last.data, last.seq, last.ts, last.fields) == ("exit", 0, 3, 5, {"status": "ok"})


@pytest.mark.parametrize(
    "line",
    [b"not json", b"[1]", b'{"data":1}', b'"text"', b'{"type":"x","seq":"y"}', b"\xff", GOOD + b"," + GOOD, b'{"a":[1'],
)
def test_a_line_that_is_no_event_is_named_after_those_before_it_were_given(line):
    events = events_of([GOOD, line, GOOD], Event)
    assert next(events).data == "a"
    with pytest.raises(UnexpectedAnswerError, match="no event"):
        next(events)
