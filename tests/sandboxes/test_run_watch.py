"""When a run whose kernel has replied counts as over without the kernel's idle."""

import asyncio

from podflare_nb.sandboxes.outputs import OutputLimits, OutputTally
from podflare_nb.sandboxes.run import Run
from podflare_nb.sandboxes.run_watch import RunWatch
from podflare_nb.sandboxes.settings import ExecutionSettings

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


async def test_what_was_said_before_is_waited_for_as_long_as_anything_comes():
    silent = asyncio.Event()
    keeper = TalkingKeeper(LOOKS_OF_TALK)
    left_at_the_end = []

    def fell_silent() -> None:
        left_at_the_end.append(keeper.left)
        silent.set()

    run = Run("a cell", "python", OutputTally(OutputLimits()))
    watch = RunWatch(run, keeper, ExecutionSettings(quiet_seconds=0.01), fell_silent)
    watch.replied()
    await asyncio.wait_for(silent.wait(), 30)
    assert left_at_the_end == [0]


async def test_a_run_that_is_over_is_watched_no_more():
    run = Run("a cell", "python", OutputTally(OutputLimits()))
    silent = []
    watch = RunWatch(run, TalkingKeeper(0), ExecutionSettings(quiet_seconds=0.001), lambda: silent.append(1))
    watch.replied()
    watch.close()
    other = asyncio.Event()
    RunWatch(run, TalkingKeeper(0), ExecutionSettings(quiet_seconds=0.01), other.set).replied()
    await asyncio.wait_for(other.wait(), 30)
    assert silent == []
