"""Merges of branches that went another way than the parent since they parted, by running on or by a rewind."""

from __future__ import annotations

from podflare_nb.transcripts.export import export

from .test_notebook_branches import after_a_kill, out, sources, turn


async def test_a_rewind_is_undone_by_merging_the_branch_that_keeps_the_way_not_taken(family):
    for number in range(1, 4):
        turn(family.sandbox, f"t{number}", f"x{number} = 1", out(f"{number}\n"))
    before = await family.read(family.parent)
    kept = family.fork(family.parent, "sbx_kept")
    family.parent.rewind("t1", branch="sbx_kept")
    turn(family.sandbox, "t4", "x4 = 1")
    family.says(kept).run("k = x3")
    family.parent.merge(kept, losers=[])
    family.sandbox.run("after")
    told = await family.read(family.parent)
    assert sources(told) == [*sources(before)[:2], "do t4", "x4 = 1", *sources(before)[2:], "k = x3", "after"]
    assert told["cells"][5]["outputs"] == [out("2\n")]
    skipped = [cell["source"] for cell in told["cells"] if "skip-execution" in cell["metadata"].get("tags", [])]
    assert skipped == ["x4 = 1"], "the state of the kernel knows nothing of it"
    assert family.parent.position() == ("t3", 10)
    assert (await after_a_kill(family.store, family.parent)) == [told]


async def test_a_winner_that_went_back_to_what_the_parent_has_taken_back_is_merged_as_it_is(family):
    for number in range(1, 4):
        turn(family.sandbox, f"t{number}", f"x{number} = 1")
    winner = family.fork(family.parent, "sbx_winner")
    family.parent.rewind("t1", branch="sbx_kept")
    family.sandbox.run("own")
    turn(family.says(winner), "t4", "x4 = 1")
    winner.rewind("t2", branch="sbx_others")
    family.says(winner).run("w = x2")
    family.parent.merge(winner, losers=[])
    told = await family.read(family.parent)
    assert sources(told) == ["do t1", "x1 = 1", "own", "do t2", "x2 = 1", "w = x2"]
    assert family.parent.position() == ("t2", 6)
    assert (await after_a_kill(family.store, family.parent)) == [told]


async def test_what_the_parent_ran_while_a_branch_went_another_way_is_not_run_again_after_the_merge(family):
    turn(family.sandbox, "t1", "x = 1")
    winner = family.fork(family.parent, "sbx_winner")
    family.parent.add_markdown("t2", "assistant", "I go on.")
    family.sandbox.run("del x")
    family.says(winner).run("y = x")
    inner = family.fork(winner, "sbx_inner")
    family.says(winner).run("del y")
    family.says(inner).run("z = x + y")
    winner.merge(inner, losers=[])
    family.parent.merge(winner, losers=[])
    family.sandbox.run("x + y + z")
    told = await family.read(family.parent)
    assert sources(told) == ["do t1", "x = 1", "I go on.", "del x", "y = x", "del y", "z = x + y", "x + y + z"]
    replaced = {
        cell["source"]: cell["metadata"]["podflare_nb"]["superseded_by"]["sandbox_id"]
        for cell in told["cells"]
        if "skip-execution" in cell["metadata"].get("tags", [])
    }
    assert replaced == {"del x": "sbx_winner", "del y": "sbx_inner"}
    script = export(told, "py")
    assert "# %% not run here: the state that it made was replaced by that of sbx_winner\n# del x\n" in script
    assert "replaced by a merge" in export(told, "html")
    stamps = [cell["metadata"]["podflare_nb"].get("superseded_by") for cell in told["cells"]]
    assert sum(stamp is not None for stamp in stamps) == 2
    assert (await after_a_kill(family.store, family.parent)) == [told]


async def test_what_one_merge_has_superseded_counts_again_when_a_branch_that_knows_it_is_merged(family):
    turn(family.sandbox, "t1", "x = 1")
    early = family.fork(family.parent, "sbx_early")
    turn(family.sandbox, "t2", "y = 2")
    late = family.fork(family.parent, "sbx_late")
    family.says(early).run("z = 3")
    family.says(late).run("z = y")
    family.parent.merge(early, losers=[])
    assert await skipped(family) == ["y = 2"]
    family.parent.merge(late, losers=[])
    assert await skipped(family) == ["z = 3"]
    [told] = await after_a_kill(family.store, family.parent)
    assert sources(told) == ["do t1", "x = 1", "do t2", "y = 2", "z = 3", "z = y"]


async def skipped(family):
    cells = (await family.read(family.parent))["cells"]
    return [cell["source"] for cell in cells if "skip-execution" in cell["metadata"].get("tags", [])]
