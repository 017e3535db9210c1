"""Fork, merge, diff and rewind of our client against the real service."""

import asyncio

import pytest

from podflare_nb.client import (
    AsyncSandbox,
    ConflictError,
    InvalidArgumentError,
    MergedError,
    NotFoundError,
    Sandbox,
)


@pytest.fixture
def sandbox(service):
    with Sandbox("python-minimal", host=service.url, api_key=service.key) as sandbox:
        yield sandbox


def said(sandbox, code):
    return sandbox.run_code(code).raise_for_error().stdout


def test_a_table_is_forked_worked_on_in_parallel_compared_and_merged(service):
    with Sandbox("python-datasci", host=service.url, api_key=service.key) as parent:
        said(parent, "import pandas as pd\ndf = pd.DataFrame({'n': range(1000)})")
        with parent.fork(3) as children:
            for power, child in enumerate(children, 1):
                said(child, f"df['p'] = df.n ** {power}\ndf.to_csv('out.csv')\nbest = {power}")
            diff = parent.diff(children[2])
            assert [one.name for one in diff.variables.added] == ["best"]
            assert "df" in [one.name for one in diff.variables.changed]
            assert [one.path for one in diff.files.added] == ["/workspace/out.csv"]
            parent.merge_into(children[2])
            assert said(parent, "print(df.p.max(), best)") == "997002999 3"
            assert said(children[0], "print(df.p.max(), best)") == "999 1"


def test_a_kernel_that_has_drawn_is_forked(service):
    with Sandbox("python-datasci", host=service.url, api_key=service.key) as parent:
        plot = "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()"
        assert len(parent.run_code(plot).pngs) == 1
        for branch in parent.fork(2):
            assert len(branch.run_code(plot).pngs) == 1
        assert len(parent.run_code(plot).pngs) == 1


def test_branches_draw_different_random_numbers(sandbox):
    said(sandbox, "import random, uuid, os; random.random()")
    with sandbox.fork(4) as children:
        drawn = [said(one, "print(random.random(), uuid.uuid4(), os.urandom(8).hex())") for one in (sandbox, *children)]
    assert len({part for line in drawn for part in line.split()}) == 15


def test_the_winner_of_a_merge_is_used_up_for_everyone_but_its_notebook_is_not(service, sandbox):
    (winner,) = sandbox.fork()
    said(winner, "print('the way that won')")
    other = Sandbox.connect(winner.id, host=service.url, api_key=service.key)
    sandbox.merge_into(winner)
    for one in (winner, other):
        with pytest.raises(MergedError, match=sandbox.id):
            one.run_code("1")
        assert "the way that won" in str(one.notebook())
        one.close()


def test_the_family_is_listed_with_what_became_of_each(sandbox):
    said(sandbox, "x = 1")
    winner, live, ended = sandbox.fork(3)
    sandbox.merge_into(winner)
    ended.close()
    family = {one.id: one for one in sandbox.branches()}
    assert set(family) == {sandbox.id, winner.id, live.id, ended.id}
    assert family[sandbox.id].forked_from is None
    assert {family[one.id].forked_from.sandbox_id for one in (winner, live, ended)} == {sandbox.id}
    assert (family[winner.id].end_reason, family[winner.id].merged_into) == ("merged", sandbox.id)
    assert [family[one.id].is_live for one in (live, ended)] == [True, False]
    live.close()


def test_what_cannot_come_along_is_named_and_refused_when_strict(sandbox):
    said(sandbox, "import threading\nstop = threading.Event()\nt = threading.Thread(target=stop.wait, name='busy-bee')")
    said(sandbox, "t.start()")
    with pytest.raises(ConflictError) as caught:
        sandbox.fork(strict=True)
    assert "busy-bee" in str(caught.value.details["warnings"])
    with sandbox.fork() as children:
        assert "busy-bee" in " ".join(children.warnings)
        assert children.failures == ()
    said(sandbox, "stop.set()")


def test_a_fork_while_code_runs_is_refused_after_its_patience(sandbox):
    stream = sandbox.run_code_stream("print('on', flush=True)\nimport time\nwhile True: time.sleep(0.01)")
    assert next(stream).data == "on"
    with pytest.raises(ConflictError):
        sandbox.fork(wait_seconds=0.1)
    sandbox.interrupt()
    assert list(stream)[-1].data == 130
    with sandbox.fork() as children:
        assert said(children[0], "print(1)") == "1"


@pytest.mark.parametrize("n", [0, -1, 33, 1.5, "5", True])
def test_an_impossible_number_of_branches_is_refused(sandbox, n):
    with pytest.raises(InvalidArgumentError):
        sandbox.fork(n)
    assert len(sandbox.branches()) == 1


def test_a_merge_into_itself_or_with_what_is_not_there_is_refused(sandbox):
    with pytest.raises(InvalidArgumentError):
        sandbox.merge_into(sandbox)
    with pytest.raises(NotFoundError):
        sandbox.merge_into("sbx_" + "0" * 32)
    assert said(sandbox, "print(1)") == "1"


def test_rewind_brings_back_memory_files_and_notebook_and_keeps_the_other_way(service):
    with Sandbox("python-minimal", host=service.url, api_key=service.key, checkpoints=3) as sandbox:
        first = sandbox.run_code("x = 1; open('a.txt', 'w').write('one')").raise_for_error()
        sandbox.run_code("x = 2; open('a.txt', 'w').write('two')").raise_for_error()
        assert first.turn_id in [one.turn_id for one in sandbox.checkpoints()]
        kept = sandbox.rewind(first.turn_id)
        assert said(sandbox, "print(x, open('a.txt').read())") == "1 one"
        assert "x = 2" in str(kept.notebook())
        assert "x = 2" not in str(sandbox.notebook())
        with pytest.raises(NotFoundError, match=first.turn_id):
            sandbox.rewind("no-such-turn")
        kept.close()


def test_rewind_of_a_sandbox_without_checkpoints_says_how_to_have_them(sandbox):
    result = sandbox.run_code("x = 1")
    with pytest.raises(ConflictError, match="checkpoints"):
        sandbox.rewind(result.turn_id or "turn")


async def test_asynchronous_branches_work_side_by_side(service):
    async with AsyncSandbox("python-minimal", host=service.url, api_key=service.key) as parent:
        await parent.run_code("base = 10")
        async with await parent.fork(4) as children:
            codes = [f"print(base + {number})" for number in range(4)]
            results = await asyncio.gather(*(child.run_code(code) for child, code in zip(children, codes, strict=True)))
            assert [one.stdout for one in results] == ["10", "11", "12", "13"]
            await parent.merge_into(children[3])
            assert (await parent.diff(children[0])).raw
