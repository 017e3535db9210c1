import asyncio
import json

import pytest

from podflare_nb.chat.event_log import EventLog
from podflare_nb.chat.events import encode
from podflare_nb.errors import InvalidArgumentError


def log_of(count: int, max_bytes: int = 1_000_000) -> EventLog:
    log = EventLog(lambda: 1_776_510_028_036, max_bytes)
    for n in range(count):
        log.append("text-delta", {"cell_id": "c", "text": f"{n:04}"})
    return log


async def read(log: EventLog, after: int = -1):
    return [event async for event in log.follow(after)]


async def test_events_are_numbered_from_0_and_stamped():
    log = log_of(3)
    log.close()
    assert [(event.seq, event.ts) for event in await read(log)] == [(n, 1_776_510_028_036) for n in range(3)]


async def test_what_was_dropped_is_said_once_and_reading_goes_on_after_it():
    log = log_of(100, max_bytes=1_000)
    log.close()
    notice, *rest = await read(log, after=4)
    assert notice.type == "notice"
    assert (notice.data["first"], notice.data["last"]) == (5, rest[0].seq - 1)
    assert "notebook" in notice.data["message"]
    assert [event.seq for event in rest] == list(range(rest[0].seq, 100))
    assert log.held_bytes <= 1_000
    assert (await read(log, after=notice.seq))[0] == rest[0]


async def test_an_event_that_is_larger_than_the_log_is_still_told():
    log = log_of(3, max_bytes=10)
    log.close()
    assert (await read(log))[-1].seq == 2


async def test_a_reader_waits_for_what_comes_and_ends_with_the_log():
    log = log_of(1)
    seen = asyncio.create_task(read(log))
    await asyncio.sleep(0)
    log.append("usage", {})
    await asyncio.sleep(0)
    log.append("turn-end", {})
    log.close()
    assert [event.seq for event in await asyncio.wait_for(seen, 60)] == [0, 1, 2]


@pytest.mark.parametrize("after", [-2, 3, 10**9])
async def test_a_seq_that_the_turn_has_not_reached_is_refused_at_once(after):
    with pytest.raises(InvalidArgumentError, match="its last is 2"):
        log_of(3).follow(after)


async def test_an_event_is_one_line_of_ndjson_and_a_server_sent_event_with_its_seq():
    log = EventLog(lambda: 7)
    event = log.append("text-delta", {"text": "two\nlines \u2028 ü"})
    assert event.ndjson().count(b"\n") == 1
    assert json.loads(event.ndjson()) == {
        "type": "text-delta", "data": {"text": "two\nlines \u2028 ü"}, "seq": 0, "ts": 7,
    }  # fmt: skip
    assert event.sse().startswith(b"id: 0\ndata: {")
    assert event.sse().endswith(b"}\n\n")
    assert event.sse().count(b"\n") == 3


def test_json_that_a_browser_could_not_read_is_made_readable():
    assert encode({"a": [float("nan"), float("-inf"), 1.5]}) == b'{"a":[null,null,1.5]}'
    assert json.loads(encode({"half": "\ud800"}).decode()) == {"half": "\ud800"}
