import asyncio
import json

import pytest
from stand_in_service import CHILD_IDS, KEY, SANDBOX_ID

from podflare_nb.client import (
    AsyncSandbox,
    Client,
    ConflictError,
    ForkedFrom,
    GoneError,
    InvalidArgumentError,
    MergedError,
    NotFoundError,
    Sandbox,
)
from podflare_nb.client.async_pools import _of_loop

MERGED = (404, "merged", "It was merged into another.", {"merged_into": SANDBOX_ID})


def closed(stand_in):
    return [one["path"].rpartition("/")[2] for one in stand_in.requests if one["method"] == "DELETE"]


def test_fork_gives_one_branch_unless_told_otherwise(stand_in, sandbox):
    (child,) = sandbox.fork()
    assert (type(child), child.id) == (Sandbox, CHILD_IDS[0])
    assert json.loads(stand_in.bodies("POST", "/fork")[0]) == {"n": 1}
    assert child.run_code("print(6*7)").stdout == "42"
    assert stand_in.requests[-1]["path"].endswith(f"/{child.id}/exec")


def test_fork_sends_its_options(stand_in, sandbox):
    assert [child.id for child in sandbox.fork(2, wait_seconds=0, strict=True)] == CHILD_IDS[:2]
    assert json.loads(stand_in.bodies("POST", "/fork")[0]) == {"n": 2, "wait_seconds": 0, "strict": True}


def test_fork_is_a_list_that_knows_what_stayed_behind(stand_in, sandbox):
    stand_in.fork_answer = {"children": CHILD_IDS[:1], "warnings": ["The thread w stays."], "failures": ["No disk."]}
    children = sandbox.fork(2)
    assert isinstance(children, list)
    assert (len(children), children.warnings, children.failures) == (1, ("The thread w stays.",), ("No disk.",))


def test_leaving_the_context_of_a_fork_closes_its_branches_but_the_merged_one(stand_in, sandbox):
    with sandbox.fork(3) as children:
        sandbox.merge_into(children[1])
    assert closed(stand_in) == [CHILD_IDS[0], CHILD_IDS[2]]


def test_a_branch_that_cannot_be_closed_keeps_no_other_open(stand_in, sandbox):
    children = sandbox.fork(3)
    stand_in.refusals.append((409, "conflict", "It is being merged."))
    with pytest.raises(ConflictError, match="being merged"):
        children.close()
    assert closed(stand_in) == CHILD_IDS[:3]


def test_each_branch_is_a_context_of_its_own(stand_in, sandbox):
    with sandbox.fork()[0] as child:
        assert child.run_code("1").ok
    assert closed(stand_in) == [child.id]


def test_branches_speak_for_themselves_after_their_parent_was_closed(stand_in, sandbox):
    first, second = sandbox.fork(2)
    sandbox.close()
    first.close()
    assert second.run_code("print(6*7)").stdout == "42"
    assert stand_in.requests[-1]["headers"]["Authorization"] == f"Bearer {KEY}"
    second.close()


def test_branches_share_the_client_that_their_parent_was_made_with(stand_in):
    with Client(stand_in.url, KEY) as client, Sandbox(client=client) as parent, parent.fork(2) as children:
        assert [child._calls.connection for child in children] == [client.connection] * 2
    assert closed(stand_in) == [*CHILD_IDS[:2], SANDBOX_ID]


def test_a_merge_calls_the_parent_and_uses_the_winner_up(stand_in, sandbox):
    (winner,) = sandbox.fork()
    assert sandbox.merge_into(winner) is None
    assert stand_in.requests[-1]["path"].endswith(f"/{SANDBOX_ID}/merge_into/{winner.id}")
    count = len(stand_in.requests)
    for call in (lambda: winner.run_code("1"), lambda: winner.files.read("a"), winner.info, winner.fork):
        with pytest.raises(MergedError, match=f"{winner.id} was merged into {SANDBOX_ID}") as caught:
            call()
        assert caught.value.merged_into == SANDBOX_ID
    winner.close()
    assert len(stand_in.requests) == count
    assert "merged into" in repr(winner)
    assert winner.notebook()["asked"] == "notebook"


def test_a_winner_may_be_named_by_its_id(stand_in, sandbox):
    sandbox.merge_into(CHILD_IDS[3])
    assert stand_in.requests[-1]["path"].endswith(f"/merge_into/{CHILD_IDS[3]}")


def test_whoever_else_holds_a_merged_sandbox_is_told_where_it_went(stand_in, sandbox):
    stand_in.refusals.append(MERGED)
    with pytest.raises(MergedError, match="merged into another") as caught:
        sandbox.run_code("1")
    assert isinstance(caught.value, NotFoundError)
    assert (caught.value.status, caught.value.merged_into) == (404, SANDBOX_ID)


def test_a_merged_sandbox_closes_in_silence(stand_in, sandbox):
    stand_in.refusals.append(MERGED)
    sandbox.close()
    assert closed(stand_in) == [SANDBOX_ID]


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        ((400, "invalid_argument", "n is a whole number from 1 to 32."), InvalidArgumentError),
        ((409, "conflict", "Code is running.", {"warnings": ["a thread"]}), ConflictError),
        ((410, "gone", "It was closed.", {"reason": "closed"}), GoneError),
    ],
)
def test_refusals_are_typed(stand_in, sandbox, refusal, kind):
    stand_in.refusals.append(refusal)
    with pytest.raises(kind) as caught:
        sandbox.fork(strict=True)
    assert caught.value.details == (refusal[3] if len(refusal) > 3 else {})
    stand_in.refusals.append(refusal)
    with pytest.raises(kind):
        sandbox.merge_into(CHILD_IDS[0])


def test_a_refused_merge_leaves_the_winner_usable(stand_in, sandbox):
    (winner,) = sandbox.fork()
    stand_in.refusals.append((409, "conflict", "It is busy."))
    with pytest.raises(ConflictError):
        sandbox.merge_into(winner)
    assert winner.run_code("1").ok


def test_a_diff_names_both_sandboxes_and_is_typed(stand_in, sandbox):
    diff = sandbox.diff(sandbox.fork()[0])
    assert json.loads(stand_in.bodies("POST", "/diff")[0]) == {"other": CHILD_IDS[0]}
    assert [(one.path, one.size) for one in diff.files.added] == [("/root/new.csv", 3), ("/tmp/new.csv", 3)]
    assert sandbox.diff(CHILD_IDS[1], ["/tmp"])["added"] == ["/tmp/new.csv"]


def test_rewind_names_the_turn_and_gives_the_way_not_taken(stand_in, sandbox):
    kept = sandbox.rewind("t1")
    assert (type(kept), kept.id) == (Sandbox, CHILD_IDS[0])
    assert json.loads(stand_in.bodies("POST", "/rewind")[0]) == {"turn_id": "t1"}


def test_a_sandbox_is_made_with_checkpoints_and_its_runs_tell_their_turns(stand_in):
    stand_in.exec_events = [{"type": "exit", "data": 0, "turn_id": "t1"}]
    with Sandbox(host=stand_in.url, api_key=KEY, checkpoints=5) as sandbox:
        assert sandbox.run_code("1").turn_id == "t1"
        (checkpoint,) = sandbox.checkpoints()
    assert json.loads(stand_in.bodies("POST", "/sandboxes")[0]) == {"checkpoints": 5}
    assert (checkpoint.turn_id, checkpoint.private_bytes) == ("t1", 9)


def test_branches_lists_the_family_with_where_each_came_from(sandbox):
    first, child = sandbox.branches()
    assert (first.id, first.forked_from, first.is_live) == (SANDBOX_ID, None, True)
    assert child.forked_from == ForkedFrom(SANDBOX_ID, "t1", "2026-01-01T12:00:00Z")
    assert (child.is_live, child.end_reason, child.merged_into) == (False, "merged", SANDBOX_ID)


async def test_asynchronous_branches_are_forked_merged_and_closed(stand_in):
    async with AsyncSandbox(host=stand_in.url, api_key=KEY) as parent:
        async with await parent.fork(3) as children:
            assert [(await child.run_code("1")).stdout for child in children] == ["42"] * 3
            assert (await parent.diff(children[0])).files.removed
            await parent.merge_into(children[0])
            with pytest.raises(MergedError):
                await children[0].run_code("1")
        kept = await parent.rewind("t1")
        assert (await kept.notebook())["cells"] == []
        await kept.close()
    assert closed(stand_in) == [*CHILD_IDS[1:3], CHILD_IDS[0], SANDBOX_ID]
    assert not _of_loop.get(asyncio.get_running_loop())


async def test_asynchronous_branches_outlive_their_parent(stand_in):
    parent = await AsyncSandbox(host=stand_in.url, api_key=KEY)
    (child,) = await parent.fork()
    await child.run_code("1")
    await parent.close()
    assert (await child.run_code("1")).ok
    await child.close()
    assert not _of_loop.get(asyncio.get_running_loop())


@pytest.mark.parametrize("wrong", [None, 5, [], object()])
def test_what_is_no_branch_is_refused_in_a_sentence_before_anything_is_sent(stand_in, sandbox, wrong):
    for call in (sandbox.merge_into, sandbox.diff):
        with pytest.raises(InvalidArgumentError, match=f"or by its id; not by a {type(wrong).__name__}"):
            call(wrong)
    assert not stand_in.bodies("POST", "/diff")


def test_what_json_cannot_hold_is_refused_in_a_sentence(sandbox):
    for wrong in (object(), {1}):
        with pytest.raises(InvalidArgumentError, match=r"cannot be sent .*ids as texts"):
            sandbox.rewind(wrong)


def test_a_whole_fork_or_an_asynchronous_branch_is_no_branch(sandbox):
    with pytest.raises(InvalidArgumentError, match="not by a Fork"):
        sandbox.merge_into(sandbox.fork(2))
    with pytest.raises(InvalidArgumentError, match="not by a AsyncSandbox"):
        sandbox.merge_into(AsyncSandbox._of(sandbox._calls))


@pytest.mark.parametrize("wrong", ["2", float("nan"), float("inf"), 1e300, -1])
def test_a_wait_that_is_no_time_is_the_services_to_refuse(stand_in, sandbox, wrong):
    sandbox.fork(wait_seconds=wrong)
    sent = json.loads(stand_in.bodies("POST", "/fork")[0])["wait_seconds"]
    assert repr(sent) == repr(wrong)
