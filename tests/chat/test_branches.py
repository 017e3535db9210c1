import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from chat_harness import BOUND, Chat, everything, until
from stand_in_branches import HANGS, TENANT, DictSandbox, StandInBranches

from podflare_nb.chat.dialects import choose_dialect
from podflare_nb.chat.limits import TurnLimits
from podflare_nb.chat.service import ChatService
from podflare_nb.chat.turn_branches import TurnBranches
from podflare_nb.errors import ConflictError, QuotaExceededError
from podflare_nb.transcripts import Recorder, Transcript, TranscriptHeader, TranscriptStore
from tests.provider_servers import Call, ProviderServer, Reply, calls, runs, says

MODEL = "anthropic:claude-sonnet-5-5"
MAIN = "sbx_" + "0" * 32


def sbx(number: int) -> str:
    return f"sbx_{number:032x}"


@dataclass
class Branching:
    """A chat whose agent can fork, and what stands behind it."""

    chat: Chat
    branches: StandInBranches
    provider: ProviderServer
    transcripts: dict[str, Transcript]

    def will(self, *replies: Reply) -> None:
        self.provider.will(*replies)

    async def send(self, message: str = "try", **options: Any) -> list[Any]:
        return await self.chat.send(message, model=MODEL, **options)

    def start(self, message: str = "try", **options: Any) -> Any:
        return self.chat.start(message, model=MODEL, **options)

    def told(self, request: int) -> str:
        return json.dumps(self.provider.requests[request])


@pytest.fixture
async def branching(tmp_path: Path, provider: ProviderServer) -> AsyncIterator[Branching]:
    async with TranscriptStore(tmp_path / "transcripts") as store:
        transcripts: dict[str, Transcript] = {}

        def observer_for(sandbox_id: str) -> Recorder:
            header = TranscriptHeader(sandbox_id, TENANT, "python-datasci", "Data", datetime.now(UTC))
            transcripts[sandbox_id] = store.create(header)
            return Recorder(transcripts[sandbox_id])

        main = DictSandbox(MAIN, {}, observer_for(MAIN))
        branches = StandInBranches(main, observer_for)
        limits = TurnLimits(provider_retries=0, stop_grace_seconds=5)
        async with ChatService(env=provider.env("anthropic"), limits=limits) as service:
            service.enable_branches(branches, branches.close)
            yield Branching(Chat(service, main, transcripts[MAIN]), branches, provider, transcripts)


def forks(n: int) -> Reply:
    return calls("fork", n=n, call_id="call_fork")


def merges(branch: str) -> Reply:
    return calls("merge", branch=branch, call_id="call_merge")


def side_by_side(**codes: str) -> Reply:
    """One answer of the model that runs code in several branches."""
    return Reply([], [Call("run_code", {"code": code, "branch": name}, f"call_{name}") for name, code in codes.items()])


def kinds(events: list[Any]) -> list[str]:
    return [event.type for event in events if event.type.startswith("branch-")]


def data(events: list[Any], kind: str) -> dict[str, Any]:
    return next(event.data for event in events if event.type == kind)


async def test_a_turn_tries_two_ways_keeps_one_and_closes_the_other(branching: Branching):
    branching.will(
        runs("x = 1"),
        forks(2),
        side_by_side(a="x += 10\nprint('a has', x)", b="x += 20\nprint('b has', x)"),
        merges("b"),
        runs("print('kept', x)", call_id="call_last"),
        says("21 it is."),
    )
    events = await branching.send()

    assert events[-1].data["status"] == "ok"
    assert kinds(events) == ["branch-fork", "branch-merge", "branch-close"]
    assert branching.branches.merged == [sbx(2)]
    assert branching.branches.closed == [sbx(1)]
    assert branching.branches.live == {}
    told = branching.told(3)
    assert "a has 11" in told
    assert "b has 21" in told
    assert "kept 21" in branching.told(5)


async def test_runs_of_different_branches_overlap(branching: Branching, monkeypatch):
    meet = asyncio.Barrier(3)  # all three runs must be under way for any of them to end
    fork = branching.branches.fork

    async def fork_and_meet(*args: Any, **options: Any) -> Any:
        outcome = await fork(*args, **options)
        for child in outcome.children:
            child.meet = meet
        return outcome

    monkeypatch.setattr(branching.branches, "fork", fork_and_meet)
    branching.will(forks(3), side_by_side(a="print('one')", b="print('two')", c="print('three')"), says("ok"))
    async with asyncio.timeout(BOUND):
        events = await branching.send()
    assert events[-1].data["status"] == "ok"
    starts = [event.seq for event in events if event.type == "cell-start" and "branch" in event.data]
    assert max(starts) < min(event.seq for event in events if event.type == "cell-output")


async def test_runs_of_one_branch_keep_the_order_in_which_the_model_asked_for_them(branching: Branching):
    order = [Call("run_code", {"code": f"log += [{n}]\nprint(log)", "branch": "a"}, f"call_{n}") for n in range(5)]
    branching.will(runs("log = []"), forks(1), Reply([], order), says("ok"))
    events = await branching.send()
    printed = [event.data["output"]["text"] for event in events if event.type == "cell-output"]
    assert printed[-1] == "[0, 1, 2, 3, 4]\n"
    steps = [event.type for event in events if event.data.get("branch") or "exit_code" in event.data]
    assert steps[1:] == ["cell-start", "cell-end"] * 5  # one at a time


async def test_the_notebook_says_what_was_forked_compared_and_merged_and_the_branch_records_its_runs(
    branching: Branching,
):
    branching.branches.difference = {"variables": {"added": [{"name": "y", "type": "int", "repr": "2"}]}}
    branching.will(
        forks(2),
        side_by_side(a="y = 1", b="y = 2"),
        calls("compare", branch_a="a", branch_b="main", call_id="call_compare"),
        merges("a"),
        says("done"),
    )
    events = await branching.send()
    assert kinds(events) == ["branch-fork", "branch-compare", "branch-merge", "branch-close"]
    cells = await branching.chat.cells()
    lines = ["".join(cell["source"]) for cell in cells if cell["metadata"]["podflare_nb"]["role"] == "tool"]
    assert lines == [
        f"*Forked into branches* **a** `{sbx(1)}`, **b** `{sbx(2)}`.",
        "*Compared **a** with **main**.* From a to main: variables: 1 added.",
        "*Merged branch **a**: the notebook goes on from it.* Not kept: **b**.",
        "*Closed branch **b**, which was not merged. Its notebook stays readable.*",
    ]
    assert all(cell["cell_type"] == "markdown" for cell in cells)  # the runs are the branches' own
    [run] = (await branching.transcripts[sbx(2)].notebook())["cells"]
    assert "".join(run["source"]) == "y = 2"
    assert branching.branches.compared == [(sbx(1), MAIN)]
    told = branching.told(3)
    assert "Variables only in main" in told
    assert "y: int 2" in told


async def test_what_is_told_of_a_branch_passes_through_every_dialect(branching: Branching):
    branching.will(forks(1), side_by_side(a="print('hi')"), merges("a"), says("done"))
    events = await branching.send()

    def records(name: str) -> list[Any]:
        dialect = choose_dialect("", name, MAIN)
        body = b"".join(dialect.encode(event) for event in events).decode()
        pieces = [piece.removeprefix("data: ") for piece in body.split("\n\n") if piece]
        return [json.loads(piece) for piece in pieces if piece != "[DONE]"]

    vercel = records("vercel")
    parts = [chunk["data"] for chunk in vercel if chunk["type"] == "data-branch"]
    assert [part["event"] for part in parts] == ["branch-fork", "branch-merge"]
    assert parts[0]["branches"] == [{"name": "a", "sandbox_id": sbx(1)}]
    [call] = [chunk for chunk in vercel if chunk["type"] == "tool-input-available"]
    assert call["input"] == {"code": "print('hi')", "language": "python", "branch": "a"}
    assert [chunk["type"] for chunk in vercel].count("text-start") == 1  # the model's; the lines are not its words
    ag_ui = records("ag-ui")
    custom = [event for event in ag_ui if event["type"] == "CUSTOM" and event["name"].startswith("branch-")]
    assert [event["name"] for event in custom] == ["branch-fork", "branch-merge"]
    assert custom[1]["value"]["into"] == MAIN
    ndjson = choose_dialect("", "ndjson", MAIN)
    told = [json.loads(ndjson.encode(event)) for event in events]
    assert [line["seq"] for line in told] == list(range(len(told)))
    start = next(line for line in told if line["type"] == "cell-start" and line["data"]["cell_type"] == "code")
    assert start["data"]["branch"] == {"name": "a", "sandbox_id": sbx(1)}


async def test_a_turn_that_merges_nothing_closes_all_and_says_so(branching: Branching):
    branching.will(forks(3), side_by_side(a="1", b="2", c="3"), says("none is good"))
    events = await branching.send()
    assert sorted(branching.branches.closed) == [sbx(1), sbx(2), sbx(3)]
    assert (await branching.chat.sources())[-1][1] == (
        "*Closed branches **a**, **b**, **c**, which were not merged. Their notebooks stay readable.*"
    )
    assert [branch["name"] for branch in data(events, "branch-close")["branches"]] == ["a", "b", "c"]
    assert events[-1].type == "turn-end"


async def test_cancelling_interrupts_the_runs_of_all_branches_and_closes_them(branching: Branching):
    branching.will(forks(2), side_by_side(a=HANGS, b=HANGS), says("never"))
    turn = branching.start()
    async with asyncio.timeout(BOUND):
        running = 0
        async for event in turn.events():
            running += event.type == "cell-start" and "branch" in event.data
            if running == 2:
                break
    made = list(branching.branches.live.values())
    branching.chat.service.cancel(MAIN, turn.id, "ada")
    events = await everything(turn)
    assert events[-1].data["status"] == "cancelled"
    assert [sandbox.interrupts for sandbox in made] == [1, 1]
    assert [e.data["status"] for e in events if e.type == "cell-end" and "exit_code" in e.data] == ["interrupted"] * 2
    assert branching.branches.live == {}
    assert "Closed branches **a**, **b**" in str(await branching.chat.sources())


async def test_a_fork_that_is_under_way_when_the_turn_is_cancelled_leaves_no_branch(branching: Branching, monkeypatch):
    hold = branching.branches.hold = asyncio.Event()
    close = TurnBranches.close

    async def close_late(branches: TurnBranches) -> None:
        hold.set()  # the fork comes to its end only now that the agent has stopped
        await close(branches)

    monkeypatch.setattr(TurnBranches, "close", close_late)
    branching.will(forks(2), says("never"))
    turn = branching.start()
    async with asyncio.timeout(BOUND):
        await branching.branches.begun.wait()
        branching.chat.service.cancel(MAIN, turn.id, "ada")
    events = await everything(turn)
    assert events[-1].data["status"] == "cancelled"
    assert kinds(events) == ["branch-fork", "branch-close"]
    assert branching.branches.live == {}


async def test_what_a_branch_refuses_is_told_to_the_model_and_the_turn_goes_on(branching: Branching):
    branching.branches.refuse = QuotaExceededError("You may have 5 sandboxes at once.", retry_after=1)
    branching.will(
        forks(2),
        calls("fork", n=9, call_id="call_nine"),
        calls("fork", n=0, call_id="call_none"),
        runs("1", branch="a", call_id="call_unknown"),
        merges("main"),
        calls("compare", branch_a="main", branch_b="main", call_id="call_same"),
        says("Then without."),
    )
    events = await branching.send()
    assert events[-1].data["status"] == "ok"
    told = branching.told(6)
    for said in (
        "You may have 5 sandboxes at once.",
        "n is 9; it must be from 1 to 8.",
        "n is 0; it must be from 1 to 8.",
        "There is no open branch 'a'. None is open: call fork first.",
        "The main sandbox cannot be merged into itself",
        "main and main are the same branch",
    ):
        assert said in told
    assert kinds(events) == []


async def test_a_turn_may_merge_into_its_own_sandbox_while_others_may_not(branching: Branching, monkeypatch):
    service = branching.chat.service
    merge = branching.branches.merge

    async def checked_merge(*args: str) -> None:
        service.check_no_turn(MAIN)  # as the service does before every merge
        await merge(*args)

    monkeypatch.setattr(branching.branches, "merge", checked_merge)
    branching.will(forks(1), merges("a"), Reply(hold=asyncio.Event()))
    turn = branching.start()
    await until(turn, "branch-merge")
    with pytest.raises(ConflictError, match="is running in this sandbox"):
        service.check_no_turn(MAIN)
    service.cancel(MAIN, turn.id, "ada")
    await turn.wait()
    service.check_no_turn(MAIN)


async def test_a_merge_that_is_refused_leaves_the_branch_open_and_a_merged_one_is_not_run_in(branching: Branching):
    branching.will(forks(1), merges("a"), merges("a"), runs("1", branch="a", call_id="call_late"), says("ok"))
    refusals = iter([ConflictError("Code is running in the sandbox.")])

    async def merge(*args: Any) -> None:
        for refusal in refusals:
            raise refusal
        await StandInBranches.merge(branching.branches, *args)

    branching.branches.merge = merge  # type: ignore[method-assign]
    events = await branching.send()
    assert kinds(events) == ["branch-fork", "branch-merge"]
    told = branching.told(4)
    assert "Code is running in the sandbox." in told
    assert "Branch a was merged" in told


async def test_a_branch_that_somebody_closed_does_not_end_the_turn(branching: Branching):
    branching.will(forks(1), side_by_side(a="1"), says("It is gone."))
    turn = branching.start()
    await until(turn, "branch-fork")
    branching.branches.live[sbx(1)].end = "closed"
    del branching.branches.live[sbx(1)]
    events = await everything(turn)
    assert events[-1].data["status"] == "ok"
    assert "Branch a is gone. The sandbox was closed." in branching.told(2)


async def test_warnings_and_failures_are_told_to_the_model_and_to_the_notebook(branching: Branching):
    branching.branches.warnings = ["The thread 'worker' did not come along."]
    branching.branches.failures = ["One branch could not be made: the disk is full."]
    branching.will(forks(2), says("ok"))
    events = await branching.send()
    assert data(events, "branch-fork")["warnings"] == branching.branches.warnings
    assert [branch["name"] for branch in data(events, "branch-fork")["branches"]] == ["a"]
    for said in (branching.told(1), str(await branching.chat.sources())):
        assert "worker" in said
        assert "the disk is full" in said


async def test_runs_of_branches_are_approved_one_at_a_time(branching: Branching):
    branching.will(forks(2), side_by_side(a="print('a')", b="print('b')"), says("ok"))
    turn = branching.start(approve="ask")
    asked: list[str] = []
    async with asyncio.timeout(BOUND):
        async for event in turn.events():
            if event.type == "approval-request":
                assert len(branching.chat.service.turn(MAIN, turn.id).approvals._waiting) == 1
                asked.append(event.data["branch"]["name"])
                call = event.data["tool_call_id"]
                branching.chat.service.approve(MAIN, turn.id, call, approved=True, principal="ada")
    assert asked == ["a", "b"]
    assert (await turn.wait()).status == "ok"


async def test_a_later_turn_is_not_told_of_runs_whose_branch_was_not_kept(branching: Branching):
    branching.will(forks(2), side_by_side(a="print('wrong way')", b=HANGS))
    turn = branching.start()
    await until(turn, "cell-output")
    branching.chat.service.cancel(MAIN, turn.id, "ada")
    await turn.wait()
    branching.will(says("ok"))
    await branching.send("and now?")
    told = branching.told(-1)
    assert "wrong way" not in told
    assert "which were not merged" in told


async def test_without_branches_the_model_is_not_offered_them(make_chat, provider: ProviderServer):
    provider.will(says("hi"))
    await make_chat(provider.env("anthropic")).send("hello", model=MODEL)
    names = {tool["name"] for tool in provider.requests[0]["tools"]}
    assert names == {"run_code", "write_file", "read_file", "list_files", "install_packages"}
    assert "branch" not in json.dumps(provider.requests[0])


async def test_a_model_that_can_fork_is_told_how(branching: Branching):
    branching.will(says("hi"))
    await branching.send()
    tools = {tool["name"]: tool for tool in branching.provider.requests[0]["tools"]}
    assert {"fork", "compare", "merge", "write_file"} <= tools.keys()
    assert "branch" in tools["run_code"]["input_schema"]["properties"]
    assert "side by side" in branching.told(0)


async def test_a_notebook_that_was_rewound_is_read_again(branching: Branching):
    branching.will(says("first"), says("second"))
    await branching.send("the first message")
    service = branching.chat.service
    service.notebook_changed(MAIN)
    assert list(service._register.of(MAIN)) == []
    await branching.send("two")
    assert branching.told(-1).count("the first message") == 1  # from the notebook
