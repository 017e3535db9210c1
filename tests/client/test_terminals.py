import base64
import json

import pytest
from stand_in_service import CUT, KEY, WAIT
from stand_in_terminals import READY, STAMP, ended, piece, said

from podflare_nb.client import (
    AsyncSandbox,
    ConflictError,
    GoneError,
    InvalidArgumentError,
    NotFoundError,
    NotOpenError,
    StreamBrokenError,
    Terminal,
    UnexpectedAnswerError,
)
from podflare_nb.client._sync import terminal_output


@pytest.fixture
def no_pauses(monkeypatch):
    pauses = []
    monkeypatch.setattr(terminal_output.time, "sleep", pauses.append)
    return pauses


def bodies(stand_in, verb):
    return [json.loads(body) for body in stand_in.bodies("POST", f"/{verb}")]


def attached_at(stand_in):
    return [one["uri"].rpartition("=")[2] for one in stand_in.requests if one["path"].endswith("/attach")]


@pytest.mark.parametrize(
    ("command", "fields"),
    [
        (None, {}),
        ("make test", {"shellCmd": "make test"}),
        (["top", "-d", "1"], {"argv": ["top", "-d", "1"]}),
        (("top",), {"argv": ["top"]}),
    ],
)
def test_a_terminal_runs_a_shell_a_command_line_or_words(stand_in, sandbox, command, fields):
    terminal = sandbox.terminal(command)
    assert (type(terminal), terminal.id, terminal.exit_code) == (Terminal, "pty_1", None)
    assert bodies(stand_in, "pty") == [{**fields, "cols": 80, "rows": 24}]
    terminal.close()


def test_size_environment_and_directory_are_sent(stand_in, sandbox):
    sandbox.terminal("env", cols=120, rows=40, env={"A": "1", "B": ""}, cwd="/tmp").close()
    sent = {"shellCmd": "env", "cols": 120, "rows": 40, "env": [["A", "1"], ["B", ""]], "cwd": "/tmp"}
    assert bodies(stand_in, "pty") == [sent]


def test_iterating_gives_bytes_as_they_come_and_ends_with_the_exit(stand_in, sandbox):
    other = {"type": "keepalive", "data": None, "seq": 4, "ts": STAMP}
    unknown = {"type": "something_new", "seq": 4, "ts": STAMP}
    stand_in.terminals.created = [READY, said(b"\xc3", 1), said(b"\xa9\x00", 3), other, unknown, ended(3, 3)]
    terminal = sandbox.terminal("x")
    assert list(terminal) == [b"\xc3", b"\xa9\x00"]
    assert terminal.exit_code == 3
    assert list(terminal) == []
    assert terminal.wait() == 3
    assert len(stand_in.bodies("POST", "/pty")) == 1
    assert attached_at(stand_in) == []


def test_what_is_typed_goes_in_order_and_in_pieces_that_the_service_takes(stand_in, sandbox):
    with sandbox.terminal() as terminal:
        terminal.write("é\r")
        terminal.write(b"\x03")
        terminal.write(b"")
        terminal.write(b"x" * 1_200_000)
        terminal.resize(120, 40)
    typed = [base64.b64decode(body["data_b64"]) for body in bodies(stand_in, "input")]
    assert typed[:2] == ["é\r".encode(), b"\x03"]
    assert b"".join(typed[2:]) == b"x" * 1_200_000
    assert max(map(len, typed)) <= 1 << 20
    assert bodies(stand_in, "resize") == [{"cols": 120, "rows": 40}]


def test_leaving_the_context_ends_what_was_made_and_leaves_what_was_attached(stand_in, sandbox):
    stand_in.terminals.created = [READY, WAIT]
    with sandbox.terminal() as terminal:
        assert terminal.exit_code is None
    assert stand_in.client_left.wait(60)
    assert len(bodies(stand_in, "kill")) == 1
    with sandbox.attach("pty_1"):
        pass
    assert len(bodies(stand_in, "kill")) == 1


def test_leaving_the_context_of_one_that_ended_or_went_with_its_sandbox_is_quiet(stand_in, sandbox):
    with sandbox.terminal() as terminal:
        list(terminal)
    assert bodies(stand_in, "kill") == []
    stand_in.terminals.created = [READY, WAIT]
    with sandbox.terminal():
        stand_in.refusals.append((410, "gone", "It was closed.", {"reason": "closed"}))


@pytest.mark.parametrize("cut_after", range(1, 4))
def test_a_lost_stream_is_taken_up_behind_the_last_byte(stand_in, sandbox, no_pauses, cut_after):
    whole = [READY, said(b"one", 3), said(b"two", 6), ended(0, 6)]
    stand_in.terminals.created = [*whole[:cut_after], CUT]
    stand_in.terminals.attached.append(whole[cut_after:])
    assert b"".join(sandbox.terminal("x")) == b"onetwo"
    assert attached_at(stand_in) == [str(whole[cut_after - 1]["seq"])]
    assert len(no_pauses) == 1


def test_a_stream_that_stays_lost_is_given_up_and_can_be_taken_up_again(stand_in, sandbox, no_pauses):
    stand_in.terminals.created = [READY, said(b"one", 3), CUT]
    stand_in.terminals.attached.extend([CUT] for _ in range(8))
    terminal = sandbox.terminal("x")
    output = iter(terminal)
    assert next(output) == b"one"
    with pytest.raises(StreamBrokenError, match="It may still run") as caught:
        next(output)
    assert caught.value.last_seq == 3
    assert max(no_pauses) <= 5
    stand_in.terminals.attached = type(stand_in.terminals.attached)([[said(b"two", 6), ended(0, 6)]])
    assert list(terminal) == [b"two"]


def test_reading_waits_so_long_and_goes_on_where_the_last_reader_stopped(stand_in, sandbox):
    stand_in.terminals.created = [READY, said(b"one", 3), WAIT]
    stand_in.terminals.pieces.extend([piece(b"tw", 5), piece(b"", 5), piece(b"o", 6, exit_code=7)])
    terminal = sandbox.terminal("x")
    assert next(iter(terminal)) == b"one"
    assert terminal.read(2) == b"tw"
    assert terminal.read(timeout_seconds=0) == b""
    assert terminal.exit_code is None
    assert terminal.read() == b"o"
    assert (terminal.exit_code, list(terminal)) == (7, [])
    assert bodies(stand_in, "read") == [
        {"since_seq": 3, "max_bytes": 2, "timeout_ms": 10_000},
        {"since_seq": 5, "max_bytes": 65536, "timeout_ms": 0},
        {"since_seq": 5, "max_bytes": 65536, "timeout_ms": 10_000},
    ]


def test_iterating_goes_on_behind_a_read(stand_in, sandbox):
    stand_in.terminals.pieces.append(piece(b"one", 3))
    stand_in.terminals.attached.append([said(b"two", 6), ended(0, 6)])
    terminal = sandbox.attach("pty_1")
    assert terminal.read() == b"one"
    assert list(terminal) == [b"two"]
    assert attached_at(stand_in) == ["3"]


def test_waiting_gives_the_exit_code_and_loses_nothing_that_was_not_read(stand_in, sandbox):
    stand_in.terminals.created = [READY, said(b"one", 3), ended(137, 3)]
    stand_in.terminals.pieces.extend([piece(b"one", 3), piece(b"", 3, exit_code=137)])
    terminal = sandbox.terminal("x")
    assert terminal.wait() == 137
    assert terminal.exit_code == 137
    assert list(terminal) == [b"one"]


def test_waiting_for_one_that_lives_on_ends_in_time(stand_in, sandbox, monkeypatch):
    now = iter([100.0, 100.0, 101.0, 103.0])
    monkeypatch.setattr(terminal_output, "monotonic", lambda: next(now))
    stand_in.terminals.pieces.extend([piece(b"", 2), piece(b"", 2)])
    with sandbox.terminal("x") as terminal, pytest.raises(TimeoutError, match="still runs after 2 s"):
        terminal.wait(2)
    assert [body["timeout_ms"] for body in bodies(stand_in, "read")] == [2000, 1000]


def test_what_came_too_fast_is_counted(stand_in, sandbox):
    lost = {"code": "output_dropped", "message": "5 bytes are missing.", "dropped_bytes": 5}
    notice = {"type": "notice", "data": lost, "seq": 8, "ts": STAMP}
    stand_in.terminals.attached.append([said(b"one", 3), notice, said(b"two", 11), CUT])
    stand_in.terminals.pieces.append(piece(b"x", 14, exit_code=0, dropped=2))
    terminal = sandbox.attach("pty_1")
    output = iter(terminal)
    assert [next(output), next(output)] == [b"one", b"two"]
    output.close()
    assert terminal.read() == b"x"
    assert terminal.dropped_bytes == 7


def test_a_command_that_cannot_be_run_is_an_error_with_the_services_sentence(stand_in, sandbox):
    error = {"type": "pty_error", "message": "There is no program nope.", "data": "x", "seq": 0, "ts": STAMP}
    stand_in.terminals.created = [error, ended(127, 0)]
    with pytest.raises(InvalidArgumentError, match="There is no program nope") as caught:
        sandbox.terminal(["nope"])
    assert caught.value.details == {"exit_code": 127}


def test_why_the_service_ended_it_is_kept(stand_in, sandbox):
    error = {"type": "pty_error", "message": "The sandbox was closed.", "data": "x", "seq": 2, "ts": STAMP}
    stand_in.terminals.created = [READY, error, ended(137, 2)]
    terminal = sandbox.terminal()
    assert list(terminal) == []
    assert (terminal.error, terminal.exit_code) == ("The sandbox was closed.", 137)


def test_a_stream_that_is_cut_before_the_terminal_is_there_is_not_sent_again(stand_in, sandbox):
    stand_in.terminals.created = [CUT]
    with pytest.raises(StreamBrokenError):
        sandbox.terminal()
    assert len(stand_in.bodies("POST", "/pty")) == 1


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [(409, "conflict", ConflictError), (410, "gone", GoneError), (404, "not_found", NotFoundError)],
)
def test_refusals_are_errors_with_their_sentences(stand_in, sandbox, status, code, error):
    stand_in.refusals.append((status, code, "No more than 16."))
    with pytest.raises(error, match="No more than 16"):
        sandbox.terminal()
    terminal = sandbox.attach("pty_1")
    for call in (lambda: terminal.write("x"), terminal.kill, terminal.read, terminal.wait, lambda: list(terminal)):
        stand_in.refusals.append((status, code, "It has ended."))
        with pytest.raises(error, match="It has ended"):
            call()


def test_a_stream_that_is_none_of_ours_is_said_to_be_that(stand_in, sandbox):
    stand_in.terminals.attached.append([{"no": "event"}])
    with pytest.raises(UnexpectedAnswerError):
        list(sandbox.attach("pty_1"))
    stand_in.terminals.pieces.append({"data_b64": "x", "seq": 0})
    with pytest.raises(UnexpectedAnswerError):
        sandbox.attach("pty_1").read()


def test_terminals_are_listed_and_one_that_is_not_there_cannot_be_attached(sandbox):
    assert [(one.id, one.label, one.exit_code) for one in sandbox.terminals()] == [
        ("pty_0", "vim", 0),
        ("pty_1", "bash -l", None),
    ]
    with pytest.raises(NotFoundError, match="no terminal"):
        sandbox.attach("../exec")


async def test_the_asynchronous_client_does_the_same(stand_in, async_sandbox):
    async with async_sandbox.terminal("x") as terminal:
        await terminal.write("1\r")
        assert [data async for data in terminal] == [b"$ "]
        assert await terminal.wait() == 0
    stand_in.terminals.pieces.append(piece(b"x", 1))
    attached = await async_sandbox.attach("pty_1")
    assert await attached.read() == b"x"
    assert len(await async_sandbox.terminals()) == 2


async def test_an_asynchronous_terminal_that_was_not_started_says_how_to(stand_in):
    async with AsyncSandbox(host=stand_in.url, api_key=KEY) as sandbox:
        terminal = sandbox.terminal()
        assert "not started" in repr(terminal)
        with pytest.raises(NotOpenError, match=r"await sandbox\.terminal"):
            await terminal.write("x")
