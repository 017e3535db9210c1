"""The notebook of a branch: forked, merged and rewound, live and after a restart."""

from __future__ import annotations

import errno
import os

import pytest

from podflare_nb.errors import ConflictError, NoCapacityError, NotFoundError
from podflare_nb.transcripts import TranscriptStore, segments

PARENT = "sbx_" + "a" * 32


def sources(notebook):
    return [cell["source"] for cell in notebook["cells"]]


def about(notebook):
    return notebook["metadata"]["podflare_nb"]


def out(text):
    return {"output_type": "stream", "name": "stdout", "text": text}


def turn(sandbox, turn_id, source="x = 1", *outputs):
    sandbox.transcript.begin_turn(turn_id, f"do {turn_id}")
    sandbox.run(source, *outputs, turn_id=turn_id)
    sandbox.transcript.end_turn(turn_id, "ok")


async def after_a_kill(store, *transcripts):
    """The notebooks as a server that starts after a kill -9 of this one reads them."""
    for transcript in transcripts:
        transcript.abandon()
    async with TranscriptStore(store.root) as later:
        return [await later.open(transcript.header.sandbox_id).notebook() for transcript in transcripts]


async def test_a_branch_has_the_cells_so_far_and_says_where_it_comes_from(family):
    turn(family.sandbox, "t1", "x = 1", out("1\n"))
    child = family.fork(family.parent, "sbx_child")
    family.sandbox.run("parent = 1")
    family.says(child).run("child = 1")
    told, childs = await family.read(family.parent), await family.read(child)
    assert sources(told) == ["do t1", "x = 1", "parent = 1"]
    assert sources(childs) == ["do t1", "x = 1", "child = 1"]
    assert childs["cells"][:2] == told["cells"][:2], "ids, outputs and provenance are the parent's"
    assert about(childs)["sandbox_id"] == "sbx_child"
    assert about(childs)["forked_from"] == {
        "sandbox_id": PARENT,
        "turn_id": "t1",
        "cells": 2,
        "at": "2026-11-23T12:00:00Z",
    }
    assert "forked_from" not in about(told)
    assert [turn.turn_id for turn in await child.turns()] == ["t1"]
    assert child.title == "do t1"
    assert await after_a_kill(family.store, family.parent, child) == [told, childs]


async def test_a_turn_that_was_under_way_goes_on_in_the_parent_only(family):
    family.parent.begin_turn("t1", "try two ways")
    child = family.fork(family.parent, "sbx_child")
    family.parent.end_turn("t1", "ok")
    [parents] = await family.parent.turns()
    [childs] = await child.turns()
    assert parents.status == "ok"
    assert (childs.status, childs.error) == (
        "cancelled",
        f"The sandbox was forked in this turn, which went on in {PARENT}.",
    )
    assert sources(await family.read(child)) == ["try two ways"], "it is told in the turn, not in a cell"


async def test_a_merge_appends_the_winners_cells_with_their_provenance(family):
    turn(family.sandbox, "t1")
    winner, loser = family.fork(family.parent, "sbx_winner"), family.fork(family.parent, "sbx_loser")
    turn(family.says(winner), "t2", "y = 2", out("won\n"))
    family.says(loser).run("y = 3")
    family.parent.merge(winner, losers=["sbx_loser"])
    winner.end("merged", f"It was merged into {PARENT}.")
    family.sandbox.run("z = y")
    told = await family.read(family.parent)
    assert sources(told) == ["do t1", "x = 1", "do t2", "y = 2", "z = y"]
    stamps = [cell["metadata"]["podflare_nb"].get("branch") for cell in told["cells"]]
    assert stamps == [None, None, {"sandbox_id": "sbx_winner"}, {"sandbox_id": "sbx_winner"}, None]
    assert told["cells"][3]["outputs"] == [out("won\n")]
    [merge] = about(told)["merges"]
    assert (merge["winner"], merge["losers"]) == ("sbx_winner", ["sbx_loser"])
    assert merge["cells"] == [cell["id"] for cell in told["cells"][2:4]]
    assert [(turn.turn_id, turn.branch) for turn in await family.parent.turns()] == [("t1", None), ("t2", "sbx_winner")]
    assert family.parent.position() == ("t2", 5)
    assert "end" not in about(told), "the branch is over, not the parent"
    loser.end("closed", "It lost.")
    assert sources(await family.read(family.store.open("sbx_loser"))) == ["do t1", "x = 1", "y = 3"]
    assert about(await family.read(family.store.open("sbx_winner")))["end"]["reason"] == "merged"
    assert (await after_a_kill(family.store, family.parent))[0] == told


async def test_what_runs_in_the_parent_while_a_branch_is_merged_goes_on(family):
    family.parent.begin_turn("t1", "try two ways")
    winner = family.fork(family.parent, "sbx_winner")
    family.says(winner).run("y = 2", turn_id="t1")
    winner.end_turn("t1", "cancelled")
    winner.end("merged")
    family.parent.merge(winner, losers=[])
    [running] = await family.parent.turns()
    assert running.status == "running"
    family.sandbox.run("z = 1", turn_id="t1")
    family.parent.end_turn("t1", "ok")
    told = await family.read(family.parent)
    assert sources(told) == ["try two ways", "y = 2", "z = 1"]
    assert [turn.status for turn in await family.parent.turns()] == ["ok"]


async def test_a_branch_that_merged_a_branch_is_merged_with_both_provenances(family):
    child = family.fork(family.parent, "sbx_child")
    family.says(child).run("c1")
    grandchild = family.fork(child, "sbx_grandchild")
    family.says(grandchild).run("g1")
    child.merge(grandchild, losers=["sbx_other"])
    family.says(child).run("c2")
    family.parent.merge(child, losers=[])
    told = await family.read(family.parent)
    assert [(cell["source"], cell["metadata"]["podflare_nb"]["branch"]["sandbox_id"]) for cell in told["cells"]] == [
        ("c1", "sbx_child"),
        ("g1", "sbx_grandchild"),
        ("c2", "sbx_child"),
    ]
    assert [merge["winner"] for merge in about(told)["merges"]] == ["sbx_grandchild", "sbx_child"]
    assert (await after_a_kill(family.store, family.parent)) == [told]


async def test_a_grandchild_a_sibling_and_the_parent_itself_may_be_merged(family):
    family.sandbox.run("p0")
    child = family.fork(family.parent, "sbx_child")
    family.says(child).run("c1")
    grandchild = family.fork(child, "sbx_grandchild")
    family.says(grandchild).run("g1")
    family.sandbox.run("p1")
    sibling = family.fork(family.parent, "sbx_sibling")
    family.says(sibling).run("s1")
    sibling.merge(grandchild, losers=[])
    assert sources(await family.read(sibling)) == ["p0", "p1", "s1", "c1", "g1"]
    child.merge(family.parent, losers=[])
    assert sources(await family.read(child)) == ["p0", "c1", "p1"]
    grandchild.merge(sibling, losers=[])
    told = await family.read(grandchild)
    assert sources(told) == ["p0", "c1", "g1", "p1", "s1", "c1", "g1"]
    assert len({cell["id"] for cell in told["cells"]}) == 7
    assert grandchild.position() == (None, 7)
    assert (await after_a_kill(family.store, grandchild)) == [told]


async def test_a_winner_that_has_ended_already_is_merged_from_disk(family):
    turn(family.sandbox, "t1")
    winner = family.fork(family.parent, "sbx_winner")
    turn(family.says(winner), "t2", "y = 2", out("z" * 100_000))
    await winner.close("merged")
    family.parent.merge(family.store.open("sbx_winner"), losers=[])
    told = await family.read(family.parent)
    assert sources(told) == ["do t1", "x = 1", "do t2", "y = 2"]
    assert "end" not in about(told)
    assert family.parent.position() == ("t2", 4)
    await family.store.delete("sbx_winner")
    assert (await after_a_kill(family.store, family.parent)) == [told]


async def test_a_branch_that_did_nothing_has_no_file_until_somebody_reads_it(family, parsed):
    family.sandbox.run("x", out("y" * 300_000))
    await family.parent.ipynb()
    child = family.fork(family.parent, "sbx_child")
    await child.close("closed")
    directory = family.store.root / "sbx_child"
    assert not list(directory.glob("*.ipynb"))
    assert not list(directory.glob(".*"))
    notebook = parsed(await family.store.open("sbx_child").ipynb())
    assert sources(notebook) == ["x"]
    assert about(notebook)["end"]["reason"] == "closed"
    assert sources(parsed((directory / "notebook.ipynb").read_bytes())) == ["x"]


async def test_itself_and_a_stranger_cannot_be_merged(family, make_header):
    stranger = family.store.create(make_header("sbx_stranger"))
    for other in (family.parent, stranger):
        with pytest.raises(ConflictError, match="no branch of the family"):
            family.parent.merge(other, losers=[])


async def test_a_rewind_takes_back_what_came_after_the_turn_and_says_where_it_lives_on(family):
    turn(family.sandbox, "t1", "x = 1", {**bar("1%"), "output_type": "display_data"})
    before = await family.read(family.parent)
    turn(family.sandbox, "t2", "x = 2", {**bar("100%"), "output_type": "update_display_data"})
    assert (await family.read(family.parent))["cells"][1]["outputs"][0]["data"] == {"text/plain": "100%"}
    kept = family.fork(family.parent, "sbx_kept")
    kept.end("closed", "It was rewound.")
    family.parent.rewind("t1", branch="sbx_kept")
    told = await family.read(family.parent)
    assert told["cells"] == before["cells"], "also what a later cell did to it is taken back"
    assert [turn.turn_id for turn in await family.parent.turns()] == ["t1"]
    assert about(told)["rewinds"] == [{"turn_id": "t1", "branch": "sbx_kept", "at": "2026-11-23T12:00:00Z"}]
    assert family.parent.position() == ("t1", 2)
    turn(family.sandbox, "t3", "x = 3")
    told = await family.read(family.parent)
    assert sources(told) == ["do t1", "x = 1", "do t3", "x = 3"]
    assert sources(await family.read(family.store.open("sbx_kept"))) == ["do t1", "x = 1", "do t2", "x = 2"]
    assert (await after_a_kill(family.store, family.parent)) == [told]


def bar(text):
    return {"data": {"text/plain": text}, "metadata": {}, "transient": {"display_id": "bar"}}


async def test_a_turn_that_was_taken_back_or_never_was_cannot_be_rewound_to(family):
    turn(family.sandbox, "t1")
    turn(family.sandbox, "t2")
    family.parent.begin_turn("t3", "running")
    with pytest.raises(NotFoundError, match="turns that have ended here: t1, t2"):
        family.parent.rewind("t3", branch="sbx_kept")
    family.parent.rewind("t1", branch="sbx_kept")
    with pytest.raises(NotFoundError, match="turns that have ended here: t1"):
        family.parent.rewind("t2", branch="sbx_kept")


async def test_words_of_a_cell_that_was_taken_back_are_not_shown(family):
    turn(family.sandbox, "t1")
    late = family.sandbox.run("Thread(...).start()")
    family.parent.rewind("t1", branch="sbx_kept")
    family.sandbox.out(late, "late")
    told = await family.read(family.parent)
    assert sources(told) == ["do t1", "x = 1"]
    assert (await after_a_kill(family.store, family.parent)) == [told]


async def test_a_rewind_into_a_merged_turn_keeps_what_the_branch_did_until_then(family):
    winner = family.fork(family.parent, "sbx_winner")
    turn(family.says(winner), "t1", "won = 1")
    turn(family.says(winner), "t2", "won = 2")
    family.parent.merge(winner, losers=["sbx_loser"])
    family.sandbox.run("after")
    family.parent.rewind("t1", branch="sbx_kept")
    family.sandbox.run("again")
    told = await family.read(family.parent)
    assert sources(told) == ["do t1", "won = 1", "again"]
    stamps = [cell["metadata"]["podflare_nb"].get("branch") for cell in told["cells"]]
    assert stamps == [{"sandbox_id": "sbx_winner"}, {"sandbox_id": "sbx_winner"}, None]
    [merge] = about(told)["merges"]
    assert (merge["winner"], merge["losers"], len(merge["cells"])) == ("sbx_winner", ["sbx_loser"], 2)
    assert (await after_a_kill(family.store, family.parent)) == [told]


async def test_a_winner_that_went_back_to_before_its_fork_is_merged_as_it_is(family):
    turn(family.sandbox, "t1")
    turn(family.sandbox, "t2", "x = 2")
    winner = family.fork(family.parent, "sbx_winner")
    family.says(winner).run("w1")
    winner.rewind("t1", branch="sbx_kept")
    family.says(winner).run("w2")
    family.parent.merge(winner, losers=[])
    family.sandbox.run("after")
    told = await family.read(family.parent)
    assert sources(told) == ["do t1", "x = 1", "do t2", "x = 2", "w2", "after"]
    stamps = [cell["metadata"]["podflare_nb"].get("branch") for cell in told["cells"]]
    assert stamps == [*[None] * 4, {"sandbox_id": "sbx_winner"}, None]
    assert [cell["source"] for cell in told["cells"] if "superseded_by" in about(cell)] == ["x = 2"]
    assert family.parent.position() == ("t2", 6)
    [merge] = about(told)["merges"]
    assert merge["winner"] == "sbx_winner"
    assert (await after_a_kill(family.store, family.parent)) == [told]


async def test_what_a_branch_and_its_branch_took_back_by_themselves_is_not_merged(family):
    child = family.fork(family.parent, "sbx_child")
    turn(family.says(child), "t1", "c1")
    turn(family.says(child), "t2", "c2")
    child.rewind("t1", branch="sbx_kept")
    grandchild = family.fork(child, "sbx_grandchild")
    turn(family.says(grandchild), "t3", "g1")
    turn(family.says(grandchild), "t4", "g2")
    grandchild.rewind("t3", branch="sbx_kept")
    family.parent.merge(grandchild, losers=["sbx_child"])
    family.sandbox.run("after")
    told = await family.read(family.parent)
    assert sources(told) == ["do t1", "c1", "do t3", "g1", "after"]
    [merge] = about(told)["merges"]
    assert (merge["winner"], merge["losers"], len(merge["cells"])) == ("sbx_grandchild", ["sbx_child"], 4)
    assert [cell["metadata"]["podflare_nb"].get("branch") for cell in told["cells"]] == [
        *[{"sandbox_id": "sbx_grandchild"}] * 4,
        None,
    ]
    assert (await after_a_kill(family.store, family.parent)) == [told]


async def test_a_branchs_branch_that_went_back_to_before_they_parted_is_merged_as_it_is(family):
    turn(family.sandbox, "t1")
    turn(family.sandbox, "t2", "x = 2")
    child = family.fork(family.parent, "sbx_child")
    child.rewind("t1", branch="sbx_kept")
    grandchild = family.fork(child, "sbx_grandchild")
    family.says(grandchild).run("g1")
    family.parent.merge(grandchild, losers=[])
    told = await family.read(family.parent)
    assert sources(told) == ["do t1", "x = 1", "do t2", "x = 2", "g1"]
    assert [cell["source"] for cell in told["cells"] if "superseded_by" in about(cell)] == ["x = 2"]
    assert len(about(told)["merges"][0]["cells"]) == 1
    assert (await after_a_kill(family.store, family.parent)) == [told]


async def test_a_fork_after_a_rewind_is_a_fork_of_what_is_left(family):
    turn(family.sandbox, "t1")
    turn(family.sandbox, "t2", "x = 2")
    family.parent.rewind("t1", branch="sbx_kept")
    child = family.fork(family.parent, "sbx_child")
    family.says(child).run("c")
    told = await family.read(child)
    assert sources(told) == ["do t1", "x = 1", "c"]
    assert about(told)["forked_from"]["cells"] == 2
    assert (await after_a_kill(family.store, child)) == [told]


async def test_a_server_that_is_killed_in_the_middle_of_a_merge_leaves_a_notebook_that_says_so(family, validated):
    winner = family.fork(family.parent, "sbx_winner")
    family.says(winner).run("won = 1")
    family.parent.merge(winner, losers=[])
    family.parent.add_markdown("t", "assistant", "running")
    running = family.says(family.parent).start("forever()")
    family.parent.abandon()
    journal = segments.segments(family.parent.journal.directory)[-1].path
    lines = journal.read_bytes().splitlines(keepends=True)
    merged = next(number for number, line in enumerate(lines) if line.startswith(b'{"t":"merged"'))
    journal.write_bytes(b"".join(lines[:merged]))
    family.store._live.clear()
    assert running
    opened = family.store.open(PARENT)
    family.says(opened).run("later")
    told = validated(await opened.notebook())
    assert sources(told) == ["won = 1", "later"]
    opened.abandon()


async def test_deleting_a_transcript_leaves_its_family_whole(family):
    family.sandbox.run("x", out("y" * 100_000))
    child = family.fork(family.parent, "sbx_child")
    family.says(child).run("c", out("z" * 100_000))
    grandchild = family.fork(child, "sbx_grandchild")
    before = await family.read(grandchild)
    for each in (family.parent, child):
        await each.close()
        await family.store.delete(each.header.sandbox_id)
    assert await family.read(grandchild) == before
    assert (await after_a_kill(family.store, grandchild)) == [before]


async def test_a_fork_takes_no_room_on_disk_for_what_is_recorded_and_its_work_does_not_grow_with_it(
    family, monkeypatch
):
    for _ in range(4):
        family.sandbox.run("x", out("y" * 3_000_000))
    written = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: written.append(len(data)) or write(fd, data))
    child = family.fork(family.parent, "sbx_child")
    assert sum(written) < 2_000
    [shared, own] = segments.segments(child.journal.directory)
    assert (shared.links, own.links) == (2, 1)
    assert shared.size > 12_000_000
    assert own.size < 2_000


async def test_a_hundred_generations_are_few_files_and_nothing_is_read_again(family):
    family.sandbox.run("first", out("1"))
    await family.parent.notebook()
    last = family.parent
    for number in range(100):
        last = family.fork(last, f"sbx_{number}")
        family.says(last).run(f"x = {number}", out("y" * 2_000))
        assert last._projection._folding.offset > 0, "what was folded is taken over"
        await last.notebook()
    assert sources(await last.notebook()) == ["first", *(f"x = {number}" for number in range(100))]
    assert len(list(last.journal.directory.iterdir())) < 12


async def test_a_branch_copies_of_the_parents_ipynb_what_it_shares_with_it(family, parsed, monkeypatch):
    family.sandbox.run("x", out("y" * 300_000))
    await family.parent.ipynb()
    child = family.fork(family.parent, "sbx_child")
    family.says(child).run("c")
    copied = []
    copy = os.copy_file_range
    monkeypatch.setattr(os, "copy_file_range", lambda *args: copied.append(args[2]) or copy(*args))
    data = await child.ipynb()
    assert sum(copied) > 300_000
    assert sources(parsed(data)) == ["x", "c"]
    assert parsed((family.store.root / "sbx_child" / "notebook.ipynb").read_bytes()) == parsed(data)
    assert not (family.store.root / "sbx_child" / ".inherited.ipynb").exists()


async def test_without_a_way_to_copy_in_the_kernel_or_to_link_it_is_done_by_hand(family, parsed, monkeypatch):
    def cannot(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    family.sandbox.run("x", out("y" * 300_000))
    await family.parent.ipynb()
    monkeypatch.setattr(os, "copy_file_range", cannot)
    monkeypatch.setattr(os, "link", cannot)
    child = family.fork(family.parent, "sbx_child")
    family.says(child).run("c")
    assert sources(parsed(await child.ipynb())) == ["x", "c"]
    family.sandbox.run("more")
    assert sources(parsed(await family.parent.ipynb())) == ["x", "more"]
    family.parent.merge(child, losers=[])
    assert sources(parsed(await family.parent.ipynb())) == ["x", "more", "c"]
    assert len(await after_a_kill(family.store, family.parent, child)) == 2


async def test_a_full_disk_refuses_a_fork_and_leaves_nothing(family, monkeypatch):
    family.sandbox.run("x")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(NoCapacityError, match="free space in the data directory"):
            family.fork(family.parent, "sbx_child")
    assert [entry.name for entry in family.store.root.iterdir()] == [PARENT]
    family.sandbox.run("y")
    assert sources(await family.read(family.parent)) == ["x", "y"]
    family.fork(family.parent, "sbx_child")
    with pytest.raises(ConflictError, match="has a transcript already"):
        family.fork(family.parent, "sbx_child")


async def test_a_fork_that_a_killed_server_left_unfinished_is_swept(family):
    (family.store.root / ".building-0").mkdir()
    (family.store.root / ".building-0" / "journal.jsonl").write_text("")
    assert family.store.sandbox_ids() == [PARENT]
    async with TranscriptStore(family.store.root):
        pass  # sweeping is done in its thread, which has ended when it is closed
    assert [entry.name for entry in family.store.root.iterdir()] == [PARENT]


async def test_records_that_were_lost_before_a_fork_are_told_in_both(family, monkeypatch):
    def full(_fd, _data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        family.sandbox.run("lost")
    child = family.fork(family.parent, "sbx_child")
    family.sandbox.run("x")
    family.says(child).run("y")
    assert about(await family.read(family.parent))["recording"] == {"lost_records": 2}
    assert about(await family.read(child))["recording"] == {"lost_records": 2}
