"""Whose turn it is: executions in order, pauses between them."""

import asyncio

import pytest

from podflare_nb.errors import ConflictError, GoneError
from podflare_nb.sandboxes.execution import Execution, ExecutionRequest
from podflare_nb.sandboxes.waiting_line import Pause, WaitingLine

from .conftest import SECONDS


class Asked:
    """Counts how often somebody is to look who is next."""

    def __init__(self, *, busy=True):
        self.line, self.looks, self.busy = WaitingLine(), 0, busy

    def look(self):
        self.looks += 1

    def pause(self, *, first=False):
        pause = Pause(self.line, self.look, is_busy=lambda: self.busy)
        self.line.join_pause(pause, first=first)
        return pause

    def execution(self):
        execution = Execution(ExecutionRequest("1"), "cell", lambda _: None)
        self.line.join(execution)
        return execution


async def test_executions_come_in_their_order_and_are_counted_alone():
    asked = Asked()
    one, _, two = asked.execution(), asked.pause(), asked.execution()
    assert len(asked.line) == 2
    assert asked.line.next() is one
    assert asked.line.next() is None
    assert two not in (one, asked.line.next())


async def test_nobody_runs_while_a_pause_is_held():
    asked = Asked()
    pause, execution = asked.pause(), asked.execution()
    assert asked.line.next() is None
    assert pause.granted.done()
    assert asked.line.next() is None
    pause.release()
    pause.release()
    assert asked.looks == 1
    assert asked.line.next() is execution


async def test_a_first_pause_goes_before_executions_but_not_before_another_pause():
    asked = Asked()
    execution, one, two = asked.execution(), asked.pause(first=True), asked.pause(first=True)
    assert asked.line.next() is None
    assert (one.granted.done(), two.granted.done()) == (True, False)
    one.release()
    assert asked.line.next() is None
    assert two.granted.done()
    two.release()
    assert asked.line.next() is execution


async def test_a_pause_that_is_not_granted_in_time_is_a_conflict_and_leaves_the_line():
    asked = Asked()
    pause = asked.pause()
    with pytest.raises(ConflictError, match="still running"):
        await pause.wait(0)
    execution = asked.execution()
    assert asked.line.next() is execution
    pause.release()


async def test_a_kernel_that_is_not_busy_is_waited_for_even_by_those_who_will_not_wait():
    asked = Asked(busy=False)
    pause = asked.pause()
    waiting = asyncio.create_task(pause.wait(0))
    await asyncio.sleep(0)
    asked.line.next()
    await asyncio.wait_for(waiting, SECONDS)


async def test_a_closed_line_sends_everybody_away():
    asked = Asked()
    pause, execution = asked.pause(), asked.execution()
    waiting = asyncio.create_task(pause.wait(60))
    await asyncio.sleep(0)
    assert asked.line.close(GoneError("It is over.")) == [execution]
    with pytest.raises(GoneError, match="over"):
        await waiting
    assert len(asked.line) == 0
