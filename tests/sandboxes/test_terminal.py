"""One terminal as the service has it, on a real pseudo terminal: what it keeps, what waits, how it ends."""
# ruff: noqa: ASYNC110 - nobody is told that a pump has let go of a descriptor

import asyncio
import os
import tty
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from podflare_nb.errors import ConflictError
from podflare_nb.provisioning.handle import TerminalCommand, TerminalExit
from podflare_nb.sandboxes import terminal as one_terminal
from podflare_nb.sandboxes import terminal_events
from podflare_nb.sandboxes.terminal import Terminal
from podflare_nb.sandboxes.terminal_pump import TerminalPump
from podflare_nb.sandboxes.terminal_ring import RING_BYTES, SHORT_BYTES, Allowance, TerminalRing
from podflare_nb.sandboxes.terminals import Terminals, TerminalService, label_of

SECONDS = 60


@dataclass
class Handle:
    """A ``TerminalHandle`` whose command is the test: it has the slave."""

    master: int
    slave: int
    terminal_id: str = "pty_test"
    exited: asyncio.Future = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    async def kill(self):
        self.ends(137)

    def ends(self, exit_code, message=None):
        if not self.exited.done():
            self.exited.set_result(TerminalExit(exit_code, message))


@pytest.fixture
async def handle():
    master, slave = os.openpty()
    os.set_blocking(master, False)
    tty.setraw(slave)
    made = Handle(master, slave)
    yield made
    os.close(slave)


@pytest.fixture
async def terminal(handle):
    made = Terminal(handle, "test", 0, TerminalPump(), Allowance())
    yield made
    await made.kill()


async def heard(terminal, size):
    async with asyncio.timeout(SECONDS):
        while terminal.ring.total < size:
            await terminal.news().wait()


async def said(terminal, text):
    await heard(terminal, len(text))
    assert terminal.ring.since(0, 1 << 20) == (text, 0)


async def test_what_is_said_before_the_end_is_there_at_the_end(terminal, handle):
    os.write(handle.slave, b"last words")
    handle.ends(3)
    async with asyncio.timeout(SECONDS):
        await asyncio.shield(terminal.ended)
    assert terminal.exit_code == 3
    await said(terminal, b"last words")


async def test_what_is_typed_reaches_the_program_in_order(terminal, handle):
    await terminal.write(b"one ")
    await terminal.write(b"two")
    assert await asyncio.to_thread(read_exactly, handle.slave, 7) == b"one two"


async def test_input_that_a_program_does_not_read_is_refused_at_last_and_what_was_taken_arrives(
    terminal, handle, monkeypatch
):
    monkeypatch.setattr(one_terminal, "ROOM_SECONDS", 0.01)
    await terminal.write(b"x" * (1 << 20))
    with pytest.raises(ConflictError, match="does not read its input"):
        await terminal.write(b"y" * (1 << 20))
    read = await asyncio.to_thread(read_exactly, handle.slave, 1 << 20)
    assert read == b"x" * (1 << 20)
    await terminal.write(b"z")
    assert await asyncio.to_thread(read_exactly, handle.slave, 1) == b"z"


def read_exactly(descriptor, size):
    data = b""
    while len(data) < size:
        data += os.read(descriptor, size - len(data))
    return data


async def test_only_a_few_calls_wait_for_room_at_once(terminal, handle, monkeypatch):
    monkeypatch.setattr(one_terminal, "MOST_TYPING", 1)
    await terminal.write(b"x" * (1 << 20))
    waiting = asyncio.ensure_future(terminal.write(b"y" * (1 << 20)))
    await asyncio.sleep(0)
    with pytest.raises(ConflictError, match="does not read"):
        await terminal.write(b"z")
    assert await asyncio.to_thread(read_exactly, handle.slave, 1 << 20) == b"x" * (1 << 20)
    async with asyncio.timeout(SECONDS):
        await waiting
    assert await asyncio.to_thread(read_exactly, handle.slave, 1 << 20) == b"y" * (1 << 20)


async def test_a_program_that_closes_its_terminal_and_opens_it_again_is_heard(terminal, handle):
    name = os.ttyname(handle.slave)
    os.close(handle.slave)
    async with asyncio.timeout(SECONDS):
        while handle.master in terminal._pump._takes:
            await asyncio.sleep(0)
    handle.slave = os.open(name, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(handle.slave)
    os.write(handle.slave, b"again")
    await said(terminal, b"again")


async def test_a_reason_is_told_before_the_exit_and_nothing_can_be_typed_after_it(terminal):
    with terminal_events.following(terminal, 0) as lines:
        terminal.end("The house is closing.")
        told = b"".join([line async for line in lines]).decode()
    assert told.index("The house is closing.") < told.index("pty_exit")
    with pytest.raises(ConflictError, match="has ended"):
        await terminal.write(b"x")


async def test_a_silent_terminal_says_that_it_is_alive(terminal, monkeypatch):
    monkeypatch.setattr(terminal_events, "SILENCE_SECONDS", 0.01)
    with terminal_events.following(terminal, 0) as lines:
        assert b"keepalive" in await anext(lines)
        await lines.aclose()


async def test_so_many_streams_follow_a_terminal_and_no_more(terminal, monkeypatch):
    monkeypatch.setattr(terminal_events, "MAX_STREAMS", 1)
    with (
        terminal_events.following(terminal, 0),
        pytest.raises(ConflictError, match="At most 1 streams"),
        terminal_events.following(terminal, 0),
    ):
        pass
    with terminal_events.following(terminal, 0):
        assert terminal.streams == 1


def test_a_ring_keeps_the_last_of_what_was_said():
    allowance = Allowance()
    ring = TerminalRing(allowance)
    for number in range(40):
        ring.append(bytes([number]) * 65536)
    assert ring.total == 40 * 65536
    assert ring.total - ring.start == allowance.held == RING_BYTES
    assert ring.since(0, 3) == (bytes([24]) * 3, 24 * 65536)
    ring.shorten()
    assert ring.total - ring.start == allowance.held == SHORT_BYTES
    del ring
    assert allowance.held == 0


def test_rings_share_what_they_may_hold():
    allowance = Allowance(most=4 * SHORT_BYTES)
    rings = [TerminalRing(allowance) for _ in range(3)]
    for _ in range(20):
        for ring in rings:
            ring.append(bytes(16384))
    assert allowance.held == sum(ring.total - ring.start for ring in rings)
    assert allowance.held <= 4 * SHORT_BYTES + 16384
    assert all(ring.total - ring.start >= SHORT_BYTES for ring in rings)


async def test_terminals_that_print_without_end_take_turns_and_leave_the_loop_time(monkeypatch):
    loop, pump, taken = asyncio.get_running_loop(), TerminalPump(), []
    clock = [loop.time()]
    monkeypatch.setattr(loop, "time", lambda: clock[0])
    timers = []
    monkeypatch.setattr(loop, "call_at", lambda when, callback: timers.append((when, callback)) or asyncio.sleep)
    pipes = [os.pipe() for _ in range(3)]

    def take(number):
        def burst():
            taken.append(number)
            clock[0] += 0.0015
            return True

        return burst

    for number, (end, _) in enumerate(pipes):
        pump.watch(end, take(number))
    for end, _ in pipes:
        pump._speaks(end)
    assert taken == [0], "the first is read at once, the others are in line"
    for _ in range(3):
        when, turn = timers.pop()
        assert when - clock[0] >= 4 * 0.0015 - 1e-9, "a rest is four times as long as the turn before it"
        clock[0] = when
        turn()
    assert taken == [0, 0, 1, 2, 0, 1, 2][: len(taken)]
    assert len(taken) == 7
    for pipe in pipes:
        pump.forget(pipe[0])
        for end in pipe:
            os.close(end)


async def test_typing_keeps_a_sandbox_from_being_idle_and_output_does_not(handle):
    class Kernel:
        async def open_terminal(self, _):
            return handle

    used = []
    terminals = Terminals(
        TerminalService(TerminalPump(), Allowance()), Kernel, lambda: used.append(1), lambda: datetime.now(UTC)
    )
    opened = await terminals.open(TerminalCommand(["bash"], {}, None, (80, 24)))
    at_first = len(used)
    os.write(handle.slave, b"x" * 1000)
    await heard(opened, 1000)
    assert len(used) == at_first
    await terminals.type(opened.pty_id, b"x")
    assert len(used) == at_first + 1
    await terminals.aclose("over")
    assert opened.error == "over"
    with pytest.raises(ConflictError, match="closing"):
        await terminals.open(TerminalCommand(["bash"], {}, None, (80, 24)))


@pytest.mark.parametrize(
    ("argv", "label"),
    [
        (("bash", "-l"), "bash -l"),
        (("bash", "-lc", "ls | wc"), "ls | wc"),
        (("printf", "a b"), "printf 'a b'"),
        (("x" * 200,), "x" * 77 + "..."),
        (("bash", "-lc", "a\nb\x1b[31m"), "a b [31m"),
    ],
)
def test_a_label_is_one_short_line(argv, label):
    assert label_of(argv) == label
