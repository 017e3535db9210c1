"""Terminals by HTTP: made, followed, typed into, read, ended; and what is refused."""

import base64
import hashlib
import json
import random
import re
from contextlib import contextmanager

import httpx
import pytest

from ..faults.traces import descendants, descriptors, steady, until
from .conftest import assert_refused, run

SECONDS = 30


class Terminal:
    """A terminal of a sandbox, read by ``read``. ``said`` is what was read and not yet matched."""

    def __init__(self, http: httpx.Client, sandbox: str, pty_id: str) -> None:
        self.http, self.path, self.pty_id = http, f"/v1/sandboxes/{sandbox}/pty/{pty_id}", pty_id
        self.seq, self.said, self.exit_code = 0, "", None

    def call(self, what: str, **body) -> httpx.Response:
        return self.http.post(f"{self.path}/{what}", json=body)

    def type(self, text: str) -> None:
        assert self.call("input", data_b64=encoded(text.encode())).status_code == 200

    def read(self, **more) -> dict:
        answer = self.call("read", since_seq=self.seq, timeout_ms=SECONDS * 1000, **more).json()
        self.seq, self.exit_code = answer["seq"], answer["exit_code"]
        self.said += base64.b64decode(answer["data_b64"]).decode(errors="replace")
        return answer

    def until(self, pattern: str) -> None:
        while not (found := re.search(pattern, self.said)):
            assert self.read()["data_b64"], f"nothing like {pattern!r} was said, but {self.said!r}"
        self.said = self.said[found.end() :]

    def rest(self) -> int:
        """Read to the end; the exit code."""
        while self.exit_code is None:
            answer = self.read()
            assert answer["data_b64"] or self.exit_code is not None, "it neither says anything nor ends"
        return self.exit_code


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@contextmanager
def stream_of(http: httpx.Client, sandbox: str, **body):
    """The events of a new terminal's own stream, as they come."""
    with http.stream("POST", f"/v1/sandboxes/{sandbox}/pty", json=body) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["Content-Type"] == "application/x-ndjson"
        yield (json.loads(line) for line in response.iter_lines())


def opened(http: httpx.Client, sandbox: str, **body) -> Terminal:
    """A terminal whose first stream has gone away."""
    with stream_of(http, sandbox, **body) as events:
        return Terminal(http, sandbox, next(events)["session_id"])


def attached(http: httpx.Client, terminal: Terminal, **query) -> list[dict]:
    """All events of a terminal that ends, but for those that say nothing."""
    response = http.get(f"{terminal.path}/attach", params=query)
    assert response.status_code == 200, response.text
    return [event for event in map(json.loads, response.text.splitlines()) if event["type"] != "keepalive"]


def text_of(events: list[dict]) -> bytes:
    return b"".join(base64.b64decode(event["data_b64"]) for event in events if event["type"] == "pty_data")


@pytest.fixture(scope="module")
def box(http):
    """A sandbox for all tests that leave no terminal in it."""
    made = http.post("/v1/sandboxes", json={"template": "python-minimal"})
    yield made.json()["id"]
    http.delete(f"/v1/sandboxes/{made.json()['id']}")


@pytest.fixture
def terminal(http, box):
    """Opens terminals that do not outlive the test."""
    made = []

    def open_one(**body) -> Terminal:
        made.append(opened(http, box, **body))
        return made[-1]

    yield open_one
    for each in made:
        assert each.call("kill").status_code == 200


def test_a_terminals_stream_has_its_id_first_its_output_and_its_exit_last(http, box):
    with stream_of(http, box, argv=["bash", "-c", "tty; stty size; exit 7"], cols=100, rows=30) as stream:
        events = list(stream)
    assert events[0]["type"] == "pty_ready"
    assert events[0]["session_id"] == events[0]["data"]
    assert text_of(events) == b"/dev/pts/0\r\n30 100\r\n"
    assert (events[-1]["type"], events[-1]["data"]) == ("pty_exit", 7)
    assert all(isinstance(event["seq"], int) and isinstance(event["ts"], int) for event in events)
    assert [event["seq"] for event in events] == sorted(event["seq"] for event in events)
    assert events[-1]["seq"] == len(text_of(events))


def test_without_a_command_it_is_a_login_shell_in_the_workspace(terminal):
    shell = terminal()
    shell.until(r"[$#] $")
    shell.type("shopt login_shell; pwd; echo $TERM\r")
    shell.until(r"login_shell\s+on\r\n/workspace\r\nxterm-256color\r\n")
    shell.type("exit 3\r")
    assert shell.rest() == 3


def test_a_shell_command_has_the_environment_and_the_directory_that_it_is_given(terminal):
    command = terminal(shellCmd="echo $A-$B; pwd", env=[["A", "1"], ["B", "zwei ü"]], cwd="/tmp")
    assert command.rest() == 0
    assert command.said == "1-zwei ü\r\n/tmp\r\n"


def test_files_of_cells_and_of_terminals_are_the_same(http, box, terminal):
    run(http, box, "open('from-cell', 'w').write('cell')")
    assert terminal(shellCmd="cat from-cell; echo terminal > from-terminal").rest() == 0
    assert run(http, box, "print(open('from-terminal').read())")[0]["data"] == "terminal"


def test_it_runs_while_a_cell_runs(http, box, terminal):
    with http.stream("POST", f"/v1/sandboxes/{box}/exec", json={"code": "print(1)\nwhile True: pass"}) as response:
        next(response.iter_lines())
        assert terminal(shellCmd="exit 4").rest() == 4


def test_another_size_reaches_the_program(terminal):
    source = "import os, signal as s; s.pthread_sigmask(s.SIG_BLOCK, {28}); print('r', flush=True); s.sigwait({28})"
    program = terminal(argv=["python", "-c", f"{source}; print(os.get_terminal_size())"])
    program.until("r")
    assert program.call("resize", cols=123, rows=45).status_code == 200
    assert program.rest() == 0
    assert "columns=123, lines=45" in program.said


def test_it_lives_on_without_its_stream_and_two_clients_follow_it_alike(http, terminal):
    program = terminal(shellCmd="echo first; read x; echo got $x")
    program.until("first")
    with http.stream("GET", f"{program.path}/attach") as one, http.stream("GET", f"{program.path}/attach") as two:
        program.type("second\r")
        told = [[json.loads(line) for line in response.iter_lines()] for response in (one, two)]
    assert text_of(told[0]) == text_of(told[1]) == b"first\r\nsecond\r\ngot second\r\n"
    assert [events[-1]["type"] for events in told] == ["pty_exit"] * 2
    assert "pty_ready" not in {event["type"] for event in told[0]}


def test_following_goes_on_behind_any_event(http, terminal):
    program = terminal(shellCmd="echo 0123456789")
    assert program.rest() == 0
    everything = attached(http, program)
    assert text_of(attached(http, program, since_seq=5)) == text_of(everything)[5:]
    assert [event["type"] for event in attached(http, program, since_seq=everything[-1]["seq"])] == ["pty_exit"]


def test_after_more_than_the_ring_a_reader_gets_the_last_of_it_and_is_told_how_much_is_missing(http, terminal):
    program = terminal(shellCmd="yes 0123456789abcde | head -c 3000000; echo the end; read x")
    while "the end" not in program.said:
        program.said = program.said[-10:]
        assert program.read(max_bytes=1 << 20)["data_b64"]
    with http.stream("GET", f"{program.path}/attach") as response:
        lines = response.iter_lines()
        notice, first = json.loads(next(lines)), json.loads(next(lines))
    assert (notice["type"], notice["data"]["code"]) == ("notice", "output_dropped")
    kept = program.seq - notice["data"]["dropped_bytes"]
    assert kept == 1 << 20
    assert first["seq"] - len(base64.b64decode(first["data_b64"])) == notice["seq"] == notice["data"]["dropped_bytes"]
    assert program.call("read", since_seq=0).json()["dropped_bytes"] == notice["data"]["dropped_bytes"]


def test_a_read_gives_what_there_is_waits_for_what_there_is_not_and_tells_the_end(terminal):
    program = terminal(shellCmd="echo abc; read x")
    program.until("abc\r\n")
    assert program.call("read", since_seq=0, max_bytes=2).json() | {"ts": 0} == {
        "data_b64": encoded(b"ab"), "seq": 2, "dropped_bytes": 0, "exit_code": None, "ts": 0,
    }  # fmt: skip
    nothing = program.call("read", since_seq=program.seq, timeout_ms=1).json()
    assert (nothing["data_b64"], nothing["seq"], nothing["exit_code"]) == ("", program.seq, None)
    program.type("\x04")
    assert program.rest() == 1 or program.exit_code == 0
    assert_refused(program.call("read", since_seq=program.seq + 1), 400, "invalid_argument", "since_seq", "has said")


def test_kill_ends_it_and_the_list_keeps_its_exit_code(http, box, terminal):
    program = terminal(shellCmd="sleep 1000")
    assert program.call("kill").status_code == 200
    assert program.rest() == 137
    (row,) = [row for row in http.get(f"/v1/sandboxes/{box}/pty").json() if row["pty_id"] == program.pty_id]
    assert row == {
        "pty_id": program.pty_id, "cmd_label": "sleep 1000", "created_at_ms": row["created_at_ms"], "exit_code": 137,
    }  # fmt: skip
    assert program.call("kill").status_code == 200
    for what, body in (("input", {"data_b64": ""}), ("resize", {"cols": 1, "rows": 1})):
        assert_refused(program.call(what, **body), 409, "conflict", "has ended", "137")


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({"argv": ["no-such-program"]}, 127, "command not found"),
        ({"argv": ["/etc/passwd"]}, 126, "Permission denied"),
        ({"argv": ["ls"], "cwd": "/no/such"}, 1, "'/no/such'"),
    ],
)
def test_a_command_that_cannot_be_run_is_an_error_and_an_exit(http, box, body, code, words):
    with stream_of(http, box, **body) as stream:
        error, end = stream
    assert error["type"] == "pty_error"
    assert words in error["message"]
    assert (end["type"], end["data"]) == ("pty_exit", code)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"cols": 0}, "cols is 0"),
        ({"rows": -1}, "rows is -1"),
        ({"cols": 10000}, "from 1 to 1000"),
        ({"cols": "80"}, "cols is '80'"),
        ({"cols": True}, "cols is true"),
        ({"rows": 1.5}, "rows is 1.5"),
        ({"argv": []}, "argv"),
        ({"argv": [""]}, "argv[0]"),
        ({"argv": ["a\0b"]}, "NUL"),
        ({"argv": "ls"}, "a list"),
        ({"shellCmd": ""}, "shellCmd"),
        ({"shellCmd": "a\0b"}, "NUL"),
        ({"shellCmd": "ls", "argv": ["ls"]}, "both"),
        ({"cwd": ""}, "cwd"),
        ({"env": {"A": "1"}}, "pairs"),
        ({"env": [["A"]]}, "pairs"),
        ({"env": [["1A", "x"]]}, "letters, digits and _"),
        ({"env": [["A=B", "x"]]}, "letters, digits and _"),
        ({"env": [["A", "x\0"]]}, "env"),
        ({"env": [["A", 1]]}, "env"),
        ({"no_such": 1}, "no field"),
    ],
)
def test_a_wrong_request_is_refused_with_its_field(http, box, body, words):
    assert_refused(http.post(f"/v1/sandboxes/{box}/pty", json=body), 400, "invalid_argument", words)


def test_a_command_that_is_too_long_is_refused_with_the_limit(http, box):
    body = {"argv": ["echo", "ü" * 30_000]}
    assert_refused(http.post(f"/v1/sandboxes/{box}/pty", json=body), 413, "too_large", "65536")


def test_wrong_calls_of_a_terminal_are_refused(http, terminal):
    program = terminal(shellCmd="read x")
    for text in ("a", "!!!!", "YQ==\n", "ü"):
        assert_refused(program.call("input", data_b64=text), 400, "invalid_argument", "data_b64")
    assert_refused(program.call("input"), 400, "invalid_argument", "data_b64 is missing")
    assert_refused(program.call("input", data_b64=encoded(bytes((1 << 20) + 1))), 413, "too_large", "1048576")
    for body in ({"cols": 0, "rows": 24}, {"cols": 80}, {"cols": 80, "rows": "24"}, {"cols": 1001, "rows": 24}):
        assert_refused(program.call("resize", **body), 400, "invalid_argument", "from 1 to 1000")
    for body in ({"since_seq": -1}, {"max_bytes": 0}, {"timeout_ms": -1}, {"timeout_ms": 700_000}, {"since_seq": "0"}):
        assert_refused(program.call("read", **body), 400, "invalid_argument", next(iter(body)))
    for text in ("-1", "x", "1" * 30, "99"):
        assert_refused(
            http.get(f"{program.path}/attach", params={"since_seq": text}), 400, "invalid_argument", "since_seq"
        )


def test_a_terminal_that_is_not_there_and_one_of_somebody_else_are_404(http, stranger, box, terminal):
    never = Terminal(http, box, "pty_" + "0" * 32)
    theirs = Terminal(stranger, box, terminal(shellCmd="read x").pty_id)
    for each in (never, theirs):
        for what, body in (
            ("input", {"data_b64": ""}), ("resize", {"cols": 1, "rows": 1}), ("kill", {}), ("read", {}),
        ):  # fmt: skip
            assert_refused(each.call(what, **body), 404, "not_found")
        assert_refused(each.http.get(f"{each.path}/attach"), 404, "not_found")
    assert_refused(stranger.get(f"/v1/sandboxes/{box}/pty"), 404, "not_found")
    assert_refused(stranger.post(f"/v1/sandboxes/{box}/pty", json={}), 404, "not_found")


def test_a_sandbox_has_sixteen_terminals_at_most_and_lists_the_last_that_ended(http, sandbox):
    live = [opened(http, sandbox, argv=["sleep", "1000"]) for _ in range(16)]
    assert_refused(http.post(f"/v1/sandboxes/{sandbox}/pty", json={}), 409, "conflict", "at most 16")
    live.pop().call("kill")
    for number in range(34):
        assert opened(http, sandbox, argv=["bash", "-c", f"exit {number}"]).rest() == number
    rows = http.get(f"/v1/sandboxes/{sandbox}/pty").json()
    assert [row["exit_code"] for row in rows] == [None] * 15 + list(range(2, 34))


def test_terminals_end_with_their_sandbox_and_say_so(http, sandbox):
    with stream_of(http, sandbox, argv=["sleep", "1000"]) as events:
        program = Terminal(http, sandbox, next(events)["session_id"])
        http.delete(f"/v1/sandboxes/{sandbox}")
        *_, error, end = events
    assert error["message"] == "The sandbox was closed."
    assert end["data"] == 137
    assert_refused(program.call("input", data_b64=""), 410, "gone", "closed")
    assert_refused(http.get(f"/v1/sandboxes/{sandbox}/pty"), 410, "gone")


def test_a_merge_ends_the_terminals_of_both_and_the_parent_opens_others_in_the_new_state(http, sandbox):
    parents = opened(http, sandbox, argv=["sleep", "1000"])
    forked = http.post(f"/v1/sandboxes/{sandbox}/fork", json={"n": 1}).json()
    assert any("terminals stay" in warning for warning in forked["warnings"])
    (winner,) = forked["children"]
    assert http.get(f"/v1/sandboxes/{winner}/pty").json() == []
    run(http, winner, "open('won', 'w').write('yes')")
    with stream_of(http, winner, argv=["sleep", "1000"]) as events:
        next(events)
        assert http.post(f"/v1/sandboxes/{sandbox}/merge_into/{winner}").status_code == 204
        error, end = events
    assert "merged" in error["message"]
    assert end["data"] == 137
    error, end = attached(http, parents)
    assert "was merged into it" in error["message"]
    assert end["data"] == 137
    new = opened(http, sandbox, shellCmd="cat won")
    assert (new.rest(), new.said) == (0, "yes")


def test_a_kernel_that_dies_takes_terminals_with_it_and_the_next_ones_wait_for_another(http, sandbox):
    program = opened(http, sandbox, argv=["sleep", "1000"])
    run(http, sandbox, "import os; os._exit(1)")
    error, _ = attached(http, program)
    assert "kernel ended" in error["message"]
    assert opened(http, sandbox, shellCmd="exit 6").rest() == 6


SLOW_READER = """
import hashlib, os, tty
tty.setraw(0)
os.mkfifo("go")
print("ready", flush=True)
open("go").read()
data = b""
while len(data) < 1 << 20:
    data += os.read(0, 65536)
print(hashlib.sha256(data).hexdigest(), flush=True)
"""


def test_input_waits_for_a_program_that_reads_late_and_none_of_it_is_lost(http, box, terminal):
    program = terminal(argv=["python", "-c", SLOW_READER])
    program.until("ready")
    data = random.Random(7).randbytes(1 << 20)
    assert program.call("input", data_b64=encoded(data)).status_code == 200
    run(http, box, "open('go', 'w').close()")
    program.until(hashlib.sha256(data).hexdigest())


def test_a_terminal_that_prints_without_end_costs_bounded_memory_and_the_service_answers(service, http, terminal):
    def resident():
        with open(f"/proc/{service.process.pid}/statm") as file:  # noqa: PTH123 - a proc file
            return int(file.read().split()[1]) * 4096

    floods = [terminal(shellCmd="yes") for _ in range(2)]
    before = resident()
    for flood in floods:
        while flood.seq < 5 << 18:
            flood.read(max_bytes=1 << 20)
        assert http.get("/v1/templates").status_code == 200
    assert resident() - before < 50 << 20
    for flood in floods:
        assert flood.call("kill").status_code == 200


def test_terminals_leave_no_process_and_no_descriptor(service, http, box):
    def held():
        processes = descendants(service.process.pid)
        sleepers = sum(each.command.startswith("sleep 7777") for each in processes)
        return sleepers, sum("ptmx" in path for path in descriptors(service.process.pid))

    before = steady(held, SECONDS)
    for _ in range(3):
        program = opened(http, box, shellCmd="sleep 7777 & sleep 7777")
        until(lambda: held()[0] == 2, SECONDS, "two sleepers")
        program.call("kill")
        opened(http, box, shellCmd="exit 1").rest()
    until(lambda: held() == before, SECONDS, "nothing more than before")
