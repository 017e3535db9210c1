"""The table of states."""

import typing

import pytest

from podflare_nb.protocol.states import SandboxState
from podflare_nb.sandboxes import state


def test_a_sandbox_goes_from_ready_to_busy_and_back():
    assert state.after(state.after("ready", "work_began"), "work_ended") == "ready"


@pytest.mark.parametrize("begin", ["ready", "busy"])
def test_a_close_ends_any_live_state(begin):
    assert state.after(state.after(begin, "close"), "kernel_gone") == "closed"


def test_no_way_leads_back_from_closing():
    for event in typing.get_args(state.StateEvent):
        try:
            assert state.after("closing", event) in ("closing", "closed")
        except state.ImpossibleTransitionError:
            continue


def test_only_live_states_take_work():
    assert [s for s in typing.get_args(SandboxState) if state.takes_work(s)] == ["ready", "busy"]


def test_an_impossible_event_raises():
    with pytest.raises(state.ImpossibleTransitionError):
        state.after("closed", "work_began")
