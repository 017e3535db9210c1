"""Fork and merge of sandboxes, on plain kernels: who waits for whom, what is left, what is told."""

import asyncio

import pytest

from podflare_nb.errors import (
    ConflictError,
    GoneError,
    InvalidArgumentError,
    MergedError,
    NoCapacityError,
    NotFoundError,
    QuotaExceededError,
)
from podflare_nb.sandboxes.execution import ExecutionRequest

from ..faults.traces import own_descriptors, until_no_more
from .conftest import SECONDS, TENANT, child_of, first_output, fork, places, run, settings, template

SLEEP = "print('on', flush=True)\nimport time\ntime.sleep(60)"


# Fork.


async def test_children_have_the_state_and_are_sandboxes_of_their_own(house, sandbox):
    await run(sandbox, "x = 1; open('f', 'w').write('parent')")
    outcome = await fork(house, sandbox, 2)
    one, two = outcome.children
    assert len({sandbox.id, one.id, two.id}) == 3
    await run(one, "x = 2; open('f', 'w').write('one')")
    for each, said in ((sandbox, "1 parent"), (one, "2 one"), (two, "1 parent")):
        assert (await run(each, "print(x, open('f').read())")).text == f"{said}\n"
        assert house.manager.get(TENANT, each.id) is each
    assert house.observed.keys() == {sandbox.id, one.id, two.id}


async def test_a_child_has_its_parents_policy_and_what_is_left_of_its_time(house):
    parent = await house.sandbox(labels={"a": "b"}, timeout_seconds=600, idle_timeout_seconds=60, checkpoints=2)
    child = await child_of(house, parent)
    assert (child.labels, child.idle_timeout_seconds, child.checkpoints.most) == ({"a": "b"}, 60, 2)
    assert child.limits == parent.limits
    assert abs((child.expires_at - parent.expires_at).total_seconds()) <= 1


async def test_the_book_knows_the_lineage_of_every_generation(house, sandbox):
    child = await child_of(house, sandbox)
    grandchild = await child_of(house, child)
    record = house.book.get(grandchild.id)
    assert (record.family, record.parent_id, record.forked_turn_id) == (sandbox.id, child.id, f"turn of {child.id}")
    for member in (sandbox, child, grandchild):
        tree = house.branches.tree(TENANT, member.id)
        assert [each.id for each in tree] == [sandbox.id, child.id, grandchild.id]
    with pytest.raises(NotFoundError):
        house.branches.tree("stranger", sandbox.id)


async def test_what_was_queued_before_runs_before_and_what_comes_after_waits(house, sandbox):
    house.kernels.forking = asyncio.Event()
    before = await sandbox.execute(ExecutionRequest("x = 'before'"))
    forking = asyncio.create_task(fork(house, sandbox))
    await before.result()
    await asyncio.sleep(0)
    after = await sandbox.execute(ExecutionRequest("x = 'after'"))
    assert not after.begun
    house.kernels.forking.set()
    (child,) = (await forking).children
    await after.result()
    assert (await run(child, "print(x)")).text == "before\n"
    assert (await run(sandbox, "print(x)")).text == "after\n"


async def test_code_that_runs_too_long_refuses_the_fork_and_goes_on(house, sandbox):
    running = await sandbox.execute(ExecutionRequest(SLEEP))
    await first_output(running)
    with pytest.raises(ConflictError, match="still running"):
        await fork(house, sandbox, wait_seconds=0.05)
    assert not running.done
    running.cancel()
    await running.result()
    assert places(house) == (1, 0)
    assert (await run(sandbox, "print(1)")).text == "1\n"


async def test_an_idle_sandbox_forks_without_any_wait(house, sandbox):
    await run(sandbox, "1")
    assert (await fork(house, sandbox, wait_seconds=0)).children


async def test_warnings_are_told_and_a_strict_fork_refused(house, sandbox):
    house.kernels.warnings = ["The thread 'worker' did not come along."]
    with pytest.raises(ConflictError) as refused:
        await fork(house, sandbox, strict=True)
    assert refused.value.details["warnings"] == house.kernels.warnings
    assert (await fork(house, sandbox)).warnings == house.kernels.warnings


@pytest.mark.parametrize("n", [0, -1, 33])
async def test_an_impossible_number_is_refused(house, sandbox, n):
    with pytest.raises(InvalidArgumentError, match="from 1 to 32"):
        await fork(house, sandbox, n)


async def test_a_child_that_fails_is_told_gives_its_place_back_and_fails_no_other(house, sandbox):
    house.kernels.fail = 2
    outcome = await fork(house, sandbox, 3)
    assert len(outcome.children) == 1
    assert outcome.failures == ["There was no room for one."] * 2
    assert places(house) == (2, 0)


async def test_a_child_without_a_notebook_is_a_failure_and_its_kernel_ended(house, sandbox):
    full = house.manager._observer_for

    def observer_for(made):
        if len(house.observed) == 2:
            raise NoCapacityError("The disk is full.")
        return full(made)

    house.manager._observer_for = observer_for
    outcome = await fork(house, sandbox, 2)
    assert (len(outcome.children), outcome.failures) == (1, ["The disk is full."])
    assert house.kernels.handles[-1].exited.done()
    with pytest.raises(NoCapacityError, match="disk is full"):
        await fork(house, sandbox)
    assert places(house) == (2, 0)
    assert len(house.manager.live) == 2


async def test_children_count_against_the_quota_before_they_exist(make_house):
    house = make_house(settings(max_live_per_tenant=3))
    sandbox = await house.sandbox()
    with pytest.raises(QuotaExceededError):
        await fork(house, sandbox, 3)
    house.admitted.most = 1
    with pytest.raises(QuotaExceededError):
        await fork(house, sandbox, 2)
    assert len(house.kernels.handles) == 1
    assert places(house) == (1, 0)
    await fork(house, sandbox, 1)


async def test_a_closed_foreign_or_other_kernel_does_not_fork(house, sandbox, make_house):
    with pytest.raises(NotFoundError):
        await house.branches.fork("stranger", sandbox.id, 1)
    await house.manager.close(TENANT, sandbox.id)
    with pytest.raises(GoneError, match="notebook is still readable"):
        await fork(house, sandbox)
    other = settings()
    object.__setattr__(other, "templates", {"plain": template(language="R")})
    house = make_house(other)
    with pytest.raises(ConflictError, match="is R"):
        await fork(house, await house.sandbox())


async def test_forks_at_the_same_time_are_made_one_after_the_other(house, sandbox):
    await run(sandbox, "x = 1")
    outcomes = await asyncio.gather(fork(house, sandbox), fork(house, sandbox), fork(house, sandbox))
    for outcome in outcomes:
        assert (await run(outcome.children[0], "print(x)")).text == "1\n"


async def test_a_close_in_mid_fork_wins_and_leaves_no_child(house, sandbox):
    await run(sandbox, "x = 1")
    house.kernels.forking = asyncio.Event()
    forking = asyncio.create_task(fork(house, sandbox))
    await house.kernels.changes.until(lambda: house.manager.places.taken(TENANT) == 2)
    closing = asyncio.create_task(house.manager.close(TENANT, sandbox.id))
    await closing
    house.kernels.forking.set()
    with pytest.raises((GoneError, NotFoundError)):
        await forking
    assert house.manager.live == {}
    assert places(house) == (0, 0)
    assert all(handle.exited.done() for handle in house.kernels.handles)


async def test_a_fork_that_waits_behind_a_close_is_told_of_it(house, sandbox):
    running = await sandbox.execute(ExecutionRequest(SLEEP))
    await first_output(running)
    forking = asyncio.create_task(fork(house, sandbox))
    await asyncio.sleep(0)
    await house.manager.close(TENANT, sandbox.id)
    with pytest.raises(GoneError, match="was closed"):
        await forking
    assert places(house) == (0, 0)


async def test_a_fork_whose_caller_goes_away_is_brought_to_its_end(house, sandbox):
    await run(sandbox, "x = 1")
    house.kernels.forking = asyncio.Event()
    forking = asyncio.create_task(fork(house, sandbox))
    await house.kernels.changes.until(lambda: house.manager.places.taken(TENANT) == 2)
    await house.kernels.changes.until(lambda: house.branches._work._tasks)
    forking.cancel()
    house.kernels.forking.set()
    await house.branches.settle()
    assert len(house.manager.live) == 2
    assert places(house) == (2, 0)
    assert (await run(sandbox, "print(x)")).text == "1\n"


async def test_the_parents_end_ends_no_child(house, sandbox):
    await run(sandbox, "x = 1")
    child = await child_of(house, sandbox)
    await house.manager.close(TENANT, sandbox.id)
    assert (await run(child, "print(x)")).text == "1\n"


# Merge.


async def test_the_parent_goes_on_in_the_winners_state_and_the_winner_is_over(house, sandbox):
    await run(sandbox, "x = 1; open('f', 'w').write('parent')")
    one, two = (await fork(house, sandbox, 2)).children
    await run(one, "x = 2; open('f', 'w').write('one')")
    await house.branches.merge(TENANT, sandbox.id, one.id)
    assert (await run(sandbox, "print(x, open('f').read())")).text == "2 one\n"
    assert (await run(two, "print(x)")).text == "1\n"
    with pytest.raises(MergedError, match=sandbox.id) as over:
        house.manager.get(TENANT, one.id)
    assert over.value.details["merged_into"] == sandbox.id
    record = house.book.get(one.id)
    assert (record.end_reason, record.merged_into) == ("merged", sandbox.id)
    assert house.notes.merges == [(sandbox.id, one.id, [two.id])]
    assert places(house) == (2, 0)
    assert one in house.ended
    assert len(house.kernels.handles) == 4, "three, and the one that is the parent's now"


async def test_the_files_of_the_parent_are_the_winners(house, sandbox):
    child = await child_of(house, sandbox)
    await run(child, "open('only-the-winner', 'w').write('here')")
    await house.branches.merge(TENANT, sandbox.id, child.id)
    assert (await sandbox.files.read_head("only-the-winner", 10))[0] == b"here"


async def test_what_waits_on_the_parent_runs_afterwards_on_the_winners_state(house, sandbox):
    await run(sandbox, "x = 'parent'")
    child = await child_of(house, sandbox)
    await run(child, "x = 'winner'")
    running = await sandbox.execute(ExecutionRequest(f"{SLEEP}"))
    await first_output(running)
    waiting = await sandbox.execute(ExecutionRequest("print(x)"))
    merging = asyncio.create_task(house.branches.merge(TENANT, sandbox.id, child.id))
    await asyncio.sleep(0)
    running.cancel()
    await merging
    assert "".join([output["text"] async for output in waiting.outputs()]) == "winner\n"


async def test_what_waits_on_the_winner_runs_before_and_what_comes_later_is_told_where_it_went(house, sandbox):
    child = await child_of(house, sandbox)
    running = await child.execute(ExecutionRequest(SLEEP))
    await first_output(running)
    before = await child.execute(ExecutionRequest("x = 'before'"))
    merging = asyncio.create_task(house.branches.merge(TENANT, sandbox.id, child.id))
    await asyncio.sleep(0)
    after = await child.execute(ExecutionRequest("x = 'after'"))
    running.cancel()
    await merging
    assert (await before.result()).status == "ok"
    ended = await after.result()
    assert (ended.status, sandbox.id in ended.message) == ("died", True)
    assert (await run(sandbox, "print(x)")).text == "before\n"
    with pytest.raises(MergedError):
        await child.execute(ExecutionRequest("1"))


async def test_code_that_runs_too_long_refuses_the_merge_and_both_go_on(house, sandbox):
    child = await child_of(house, sandbox)
    for busy in (sandbox, child):
        running = await busy.execute(ExecutionRequest(SLEEP))
        await first_output(running)
        with pytest.raises(ConflictError, match="still running"):
            await house.branches.merge(TENANT, sandbox.id, child.id, wait_seconds=0.05)
        running.cancel()
        await running.result()
    for each in (sandbox, child):
        assert (await run(each, "print(1)")).text == "1\n"


async def test_a_turn_in_the_winner_refuses_the_merge_before_its_code_is_waited_for(house, sandbox):
    child = await child_of(house, sandbox)
    running = await child.execute(ExecutionRequest(SLEEP))
    await first_output(running)
    house.notes.busy.add(child.id)
    with pytest.raises(ConflictError, match="A turn is running"):
        await house.branches.merge(TENANT, sandbox.id, child.id, wait_seconds=0.05)
    running.cancel()
    await running.result()


async def test_itself_strangers_and_closed_ones_are_not_merged(house, sandbox):
    child, other = await child_of(house, sandbox), await house.sandbox()
    with pytest.raises(InvalidArgumentError):
        await house.branches.merge(TENANT, sandbox.id, sandbox.id)
    with pytest.raises(ConflictError, match="another family"):
        await house.branches.merge(TENANT, sandbox.id, other.id)
    with pytest.raises(NotFoundError):
        await house.branches.merge("stranger", sandbox.id, child.id)
    house.notes.busy.add(child.id)
    with pytest.raises(ConflictError, match="A turn"):
        await house.branches.merge(TENANT, sandbox.id, child.id)
    await house.manager.close(TENANT, child.id)
    with pytest.raises(GoneError):
        await house.branches.merge(TENANT, sandbox.id, child.id)
    assert (await run(sandbox, "print(1)")).text == "1\n"


async def test_a_merge_that_fails_leaves_both_as_they_were(house, sandbox):
    await run(sandbox, "x = 1")
    child = await child_of(house, sandbox)
    house.kernels.refuse = True
    with pytest.raises(NoCapacityError):
        await house.branches.merge(TENANT, sandbox.id, child.id)
    house.kernels.refuse = False
    for each in (sandbox, child):
        assert (await run(each, "x += 1; print(x)")).text == "2\n"
        assert each.state == "ready"


async def test_merges_into_each_other_at_the_same_time_end_with_one_of_the_two(house, sandbox):
    child = await child_of(house, sandbox)
    results = await asyncio.wait_for(
        asyncio.gather(
            house.branches.merge(TENANT, sandbox.id, child.id),
            house.branches.merge(TENANT, child.id, sandbox.id),
            return_exceptions=True,
        ),
        SECONDS,
    )
    assert sum(isinstance(result, MergedError) for result in results) == 1
    (left,) = house.manager.live.values()
    assert (await run(left, "print(1)")).text == "1\n"


async def test_a_kernel_that_dies_after_a_merge_is_replaced_as_any(house, sandbox):
    child = await child_of(house, sandbox)
    await house.branches.merge(TENANT, sandbox.id, child.id)
    ran = await run(sandbox, "import os; os._exit(1)")
    assert ran.result.status == "died"
    assert (await run(sandbox, "print(1)")).text == "1\n"


async def test_rounds_of_fork_and_merge_leave_nothing_behind(house, sandbox):
    async def round_():
        child = await child_of(house, sandbox)
        await run(child, "x += 1")
        await house.branches.merge(TENANT, sandbox.id, child.id)

    await run(sandbox, "x = 0")
    await round_()
    tasks, descriptors = len(asyncio.all_tasks()), own_descriptors()
    for _ in range(4):
        await round_()
    assert (await run(sandbox, "print(x)")).text == "5\n"
    assert len(asyncio.all_tasks()) == tasks
    until_no_more(own_descriptors, descriptors, SECONDS)
    assert (len(house.manager.live), places(house)) == (1, (1, 0))
