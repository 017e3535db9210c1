"""Checkpoints and rewind, on plain kernels: which states are kept, what a rewind brings back, what is told."""

import os
import signal

import pytest

from podflare_nb.errors import ConflictError, NoCapacityError, NotFoundError
from podflare_nb.protocol.provenance import Provenance
from podflare_nb.provisioning.kernel_exit import KernelExit
from podflare_nb.sandboxes.execution import ExecutionRequest

from .conftest import TENANT, child_of, places, run


async def turn(sandbox, turn_id, code):
    """An execution that is a turn of its own."""
    return await run(sandbox, code, provenance=Provenance(turn_id=turn_id), ends_turn=True)


async def test_a_rewind_brings_back_the_state_after_a_turn_and_keeps_the_other_as_a_branch(house):
    sandbox = await house.sandbox(checkpoints=2)
    for number in (1, 2, 3):
        await turn(sandbox, f"t{number}", f"x = {number}; open('f', 'w').write('{number}')")
    branch = await house.branches.rewind(TENANT, sandbox.id, "t2")
    look = "print(x, open('f').read())"
    assert (await run(sandbox, look)).text == "2 2\n"
    assert (await run(branch, look)).text == "3 3\n"
    assert house.notes.rewinds == [(sandbox.id, "t2", branch.id)]
    assert branch.origin.parent_id == sandbox.id
    assert places(house) == (2, 0)


async def test_later_states_go_with_the_branch_and_the_turn_can_be_rewound_to_again(house):
    sandbox = await house.sandbox(checkpoints=3)
    for number in (1, 2, 3):
        await turn(sandbox, f"t{number}", f"x = {number}")
    branch = await house.branches.rewind(TENANT, sandbox.id, "t2")
    assert [each.turn_id for each in sandbox.checkpoints.all()] == ["t1", "t2"]
    assert [each.turn_id for each in branch.checkpoints.all()] == ["t3"]
    await run(sandbox, "x = 'elsewhere'")
    await house.branches.rewind(TENANT, sandbox.id, "t2")
    assert (await run(sandbox, "print(x)")).text == "2\n"
    await run(branch, "x = 'elsewhere'")
    await house.branches.rewind(TENANT, branch.id, "t3")
    assert (await run(branch, "print(x)")).text == "3\n"


async def test_only_the_last_turns_are_kept_and_the_others_refused_with_what_there_is(house):
    sandbox = await house.sandbox(checkpoints=2)
    for number in (1, 2, 3):
        await turn(sandbox, f"t{number}", f"x = {number}")
    with pytest.raises(NotFoundError, match="t2, t3"):
        await house.branches.rewind(TENANT, sandbox.id, "t1")
    await house.kernels.changes.until(house.kernels.sleeping[0].exited.done)
    assert places(house) == (1, 0)


async def test_the_state_is_kept_before_anything_that_was_queued_runs(house):
    sandbox = await house.sandbox(checkpoints=1)
    first = await sandbox.execute(ExecutionRequest("x = 'first'", provenance=Provenance(turn_id="t1"), ends_turn=True))
    second = await sandbox.execute(ExecutionRequest("x = 'second'"))
    await first.result()
    await second.result()
    await house.branches.rewind(TENANT, sandbox.id, "t1")
    assert (await run(sandbox, "print(x)")).text == "first\n"


async def test_a_turn_of_many_executions_is_kept_as_its_last_one_left_it(house):
    sandbox = await house.sandbox(checkpoints=2)
    for number in (1, 2):
        await turn(sandbox, "t1", f"x = {number}")
    await run(sandbox, "x = 'later'")
    assert [each.turn_id for each in sandbox.checkpoints.all()] == ["t1"]
    await house.branches.rewind(TENANT, sandbox.id, "t1")
    assert (await run(sandbox, "print(x)")).text == "2\n"


async def test_without_checkpoints_a_rewind_says_how_to_have_them(house, sandbox):
    await turn(sandbox, "t1", "x = 1")
    with pytest.raises(ConflictError, match="with checkpoints"):
        await house.branches.rewind(TENANT, sandbox.id, "t1")
    assert house.kernels.sleeping == []


async def test_a_state_that_ended_by_itself_is_told_and_not_rewound_to(house):
    sandbox = await house.sandbox(checkpoints=2)
    await turn(sandbox, "t1", "x = 1")
    await sandbox.checkpoints.settled()
    house.kernels.sleeping[0].end(KernelExit("oom", "Memory was short."))
    await run(sandbox, "x")
    with pytest.raises(NotFoundError, match="Memory was short"):
        await house.branches.rewind(TENANT, sandbox.id, "t1")
    assert (await run(sandbox, "print(x)")).text == "1\n"


async def test_a_state_that_could_not_be_kept_is_told_and_costs_the_turn_nothing(house):
    sandbox = await house.sandbox(checkpoints=2)
    house.kernels.fail = 1
    assert (await turn(sandbox, "t1", "x = 1")).result.status == "ok"
    with pytest.raises(NotFoundError, match="could not be kept"):
        await house.branches.rewind(TENANT, sandbox.id, "t1")


async def test_a_rewind_that_fails_leaves_the_sandbox_as_it_was_and_no_branch(house):
    sandbox = await house.sandbox(checkpoints=2)
    for number in (1, 2):
        await turn(sandbox, f"t{number}", f"x = {number}")
    await sandbox.checkpoints.settled()
    house.kernels.refuse = True
    with pytest.raises(NoCapacityError):
        await house.branches.rewind(TENANT, sandbox.id, "t1")
    house.kernels.refuse = False
    house.kernels.fail = 1
    with pytest.raises(NoCapacityError):
        await house.branches.rewind(TENANT, sandbox.id, "t1")
    assert (await run(sandbox, "print(x)")).text == "2\n"
    assert list(house.manager.live) == [sandbox.id]
    assert places(house) == (1, 0)
    assert sum(not handle.exited.done() for handle in house.kernels.handles) == 1
    house.notes.busy.add(sandbox.id)
    with pytest.raises(ConflictError, match="A turn"):
        await house.branches.rewind(TENANT, sandbox.id, "t1")


async def test_the_end_of_a_sandbox_ends_its_states(house):
    sandbox = await house.sandbox(checkpoints=2)
    await turn(sandbox, "t1", "x = 1")
    await house.manager.close(TENANT, sandbox.id)
    assert all(sleeping.exited.done() for sleeping in house.kernels.sleeping)


async def test_after_a_merge_the_parents_states_stay_and_the_winners_end(house):
    sandbox = await house.sandbox(checkpoints=2)
    await turn(sandbox, "t1", "x = 1")
    child = await child_of(house, sandbox)
    await turn(child, "t2", "x = 2")
    await house.branches.merge(TENANT, sandbox.id, child.id)
    assert house.kernels.sleeping[1].exited.done()
    await house.branches.rewind(TENANT, sandbox.id, "t1")
    assert (await run(sandbox, "print(x)")).text == "1\n"


async def test_a_kernels_death_loses_no_state_of_an_earlier_turn(house):
    sandbox = await house.sandbox(checkpoints=2)
    await turn(sandbox, "t1", "x = 1")
    await sandbox.checkpoints.settled()
    os.kill(house.kernels.handles[0].plain.process.pid, signal.SIGKILL)
    await run(sandbox, "print(1)")
    await house.branches.rewind(TENANT, sandbox.id, "t1")
    assert (await run(sandbox, "print(x)")).text == "1\n"
