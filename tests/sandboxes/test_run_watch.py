"""When a run whose kernel has replied counts as over without the kernel's idle, and when an interrupt is sent."""

import asyncio
import signal
from datetime import UTC, datetime

import pytest

from podflare_nb.sandboxes.messages import Received
from podflare_nb.sandboxes.outputs import OutputLimits, OutputTally
from podflare_nb.sandboxes.run import Run
from podflare_nb.sandboxes.run_watch import RunWatch
from podflare_nb.sandboxes.settings import ExecutionSettings

from .conftest import SECONDS

LOOKS_OF_TALK = 30


class TalkingKeeper:
    """A keeper whose kernel says something between any two looks, for so many looks."""

    def __init__(self, looks: int) -> None:
        self.left = looks
        self._bytes = 0

    @property
    def heard_bytes(self) -> int:
        if self.left:
            self.left -= 1
            self._bytes += 1
        return self._bytes


class SignalledKeeper:
    """A keeper, and its kernel's handle, that remember what they were told to do."""

    def __init__(self) -> None:
        self.handle, self.done = self, asyncio.Queue()

    async def send_signal(self, signum: int) -> None:
        self.done.put_nowait(signum)

    def begin_kill(self) -> None:
        self.done.put_nowait("kill")

    async def next(self) -> object:
        return await asyncio.wait_for(self.done.get(), SECONDS)


def a_run() -> Run:
    return Run("a cell", "python", OutputTally(OutputLimits()))


def watch_of(run, keeper, settings=None, fell_silent=lambda: None, *, occupied=False) -> RunWatch:
    return RunWatch(run, keeper, settings or ExecutionSettings(), fell_silent, lambda: occupied)


def begin(run: Run, watch: RunWatch) -> None:
    """The kernel says that the run has begun."""
    run.said(Received("execute_input", "", b'{"execution_count": 1}'), datetime.now(UTC))
    watch.began()


async def test_what_was_said_before_is_waited_for_as_long_as_anything_comes():
    silent = asyncio.Event()
    keeper = TalkingKeeper(LOOKS_OF_TALK)
    left_at_the_end = []

    def fell_silent() -> None:
        left_at_the_end.append(keeper.left)
        silent.set()

    watch = watch_of(a_run(), keeper, ExecutionSettings(quiet_seconds=0.01), fell_silent)
    watch.replied()
    await asyncio.wait_for(silent.wait(), SECONDS)
    assert left_at_the_end == [0]


async def test_a_run_that_is_over_is_watched_no_more():
    silent = []
    watch = watch_of(a_run(), TalkingKeeper(0), ExecutionSettings(quiet_seconds=0.001), lambda: silent.append(1))
    watch.replied()
    watch.close()
    other = asyncio.Event()
    watch_of(a_run(), TalkingKeeper(0), ExecutionSettings(quiet_seconds=0.01), other.set).replied()
    await asyncio.wait_for(other.wait(), SECONDS)
    assert silent == []


@pytest.mark.parametrize("end", [lambda watch: watch.stop("cancel"), lambda watch: watch.interrupt_when_begun()])
async def test_a_run_that_its_kernel_has_not_begun_is_interrupted_once_it_begins(end):
    run, keeper = a_run(), SignalledKeeper()
    watch = watch_of(run, keeper)
    end(watch)
    await asyncio.sleep(0)
    assert keeper.done.empty()
    begin(run, watch)
    assert await keeper.next() == signal.SIGINT
    watch.began()
    await asyncio.sleep(0)
    assert keeper.done.empty()
    watch.close()


async def test_what_a_run_waits_behind_is_interrupted_at_once_and_the_run_when_it_begins():
    run, keeper = a_run(), SignalledKeeper()
    watch = watch_of(run, keeper, occupied=True)
    watch.stop("timeout")
    assert await keeper.next() == signal.SIGINT
    begin(run, watch)
    assert await keeper.next() == signal.SIGINT
    watch.close()


async def test_a_kernel_that_does_not_begin_a_run_that_is_to_end_is_killed():
    keeper = SignalledKeeper()
    watch_of(a_run(), keeper, ExecutionSettings(grace_seconds=0.01)).stop("timeout")
    assert await keeper.next() == "kill"


async def test_a_run_that_goes_on_after_its_interrupt_loses_its_kernel():
    run, keeper = a_run(), SignalledKeeper()
    watch = watch_of(run, keeper, ExecutionSettings(grace_seconds=0.01))
    begin(run, watch)
    watch.stop("timeout")
    assert [await keeper.next(), await keeper.next()] == [signal.SIGINT, "kill"]
