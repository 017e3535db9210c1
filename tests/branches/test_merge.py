"""A merge makes the parent's id the winner's state; nothing that was under way is lost without a word."""

import threading
from concurrent.futures import ThreadPoolExecutor

from ..faults.traces import descendants, descriptors, steady, until
from .conftest import Family

SECONDS = 60


def test_the_parent_is_the_winner_now_and_its_siblings_live_on(family):
    with family.line() as parent:
        family.run(parent, "x = 1; open('who', 'w').write('parent')")
        one, two = family.fork(parent, 2)
        family.run(one, "x = 10; open('who', 'w').write('one')")
        family.run(two, "x = 20")
        family.merge(parent, one)
        assert family.says(parent, "print(x, open('who').read())") == "10 one"
        assert family.http.get(f"/v1/sandboxes/{parent}/files/who").content == b"one"
        assert family.says(two, "print(x, open('who').read())") == "20 parent"
        lost = family.http.post(f"/v1/sandboxes/{one}/exec", json={"code": "1"})
        assert lost.status_code == 404
        assert parent in lost.json()["error"]


def test_what_waits_on_the_parent_runs_on_the_winners_state(branching, family):
    with family.line() as parent, ThreadPoolExecutor(2) as threads, Family(branching) as other:
        family.run(parent, "x = 'parent'")
        (winner,) = family.fork(parent)
        family.run(winner, "x = 'winner'")
        with family.stream(parent, "import time\nprint('on', flush=True)\ntime.sleep(0.3)\nprint(x)") as running:
            running.until("stdout")
            merging = threads.submit(other.merge, parent, winner)
            ended = running.rest()
        merging.result(SECONDS)
        assert [event["data"] for event in ended if event["type"] == "stdout"] == ["on", "parent"]
        assert ended[-1]["data"] == 0
        assert family.says(parent, "print(x)") == "winner"


def test_a_merge_with_itself_a_stranger_or_a_closed_one_is_refused(family):
    with family.line() as parent, family.line() as stranger:
        (child,) = family.fork(parent)
        itself = family.http.post(f"/v1/sandboxes/{parent}/merge_into/{parent}")
        assert itself.status_code == 400
        assert family.http.post(f"/v1/sandboxes/{parent}/merge_into/{stranger}").status_code == 409
        assert family.http.post(f"/v1/sandboxes/{parent}/merge_into/sbx_{'0' * 32}").status_code == 404
        family.close(child)
        assert family.http.post(f"/v1/sandboxes/{parent}/merge_into/{child}").status_code == 410
        assert family.says(parent, "print(1)") == "1"


def test_the_notebook_tells_the_path_that_won_and_the_ones_that_lost(family):
    with family.line() as parent:
        family.run(parent, "x = 1")
        one, two = family.fork(parent, 2)
        family.run(one, "x += 1; print('won', x)")
        family.run(two, "x += 2; print('lost', x)")
        family.merge(parent, one)
        family.run(parent, "print('after', x)")
        notebook = family.notebook(parent)
        assert family.sources(parent) == ["x = 1", "x += 1; print('won', x)", "print('after', x)"]
        assert one in str(notebook["cells"][1]["metadata"])
        merges = notebook["metadata"]["podflare_nb"]["merges"]
        assert (merges[0]["winner"], merges[0]["losers"]) == (one, [two])
        assert "lost" in str(family.notebook(two)["cells"])
        family.close(two)
        assert "lost" in str(family.notebook(two)["cells"])
        assert family.notebook(two)["metadata"]["podflare_nb"]["forked_from"]["sandbox_id"] == parent


def test_forking_and_merging_for_ever_neither_slows_down_nor_leaks(branching, family):
    def held():
        processes = descendants(branching.process.pid)
        supervisor = next(each.pid for each in processes if "provisioning.supervisor" in each.command)
        return len(processes), len(descriptors(branching.process.pid)), len(descriptors(supervisor))

    with family.line() as parent:
        family.run(parent, "x = 0")

        def rounds(count):
            for _ in range(count):
                (child,) = family.fork(parent)
                family.run(child, "x += 1; open('file', 'w').write(str(x))")
                family.merge(parent, child)

        rounds(20)
        before = steady(held, SECONDS)
        rounds(180)
        assert family.says(parent, "print(x, open('file').read())") == "200 200"
        until(
            lambda: all(now <= then + 2 for now, then in zip(held(), before, strict=True)),
            SECONDS,
            f"hardly more than before, {before}, but {held()}",
        )


def _uploading(family, sandbox, under_way, go_on):
    def body():
        yield b"begun" * (1 << 18)
        under_way.set()
        go_on.wait(SECONDS)
        yield b"ended"

    return family.http.put(f"/v1/sandboxes/{sandbox}/files/up/loaded.bin", content=body())


def test_a_file_that_is_being_sent_is_the_parents_after_a_merge_and_not_a_forks(family):
    under_way, go_on = threading.Event(), threading.Event()
    with family.line() as parent, ThreadPoolExecutor(1) as threads:
        (winner,) = family.fork(parent)
        sent = threads.submit(_uploading, family, parent, under_way, go_on)
        assert under_way.wait(SECONDS)
        (branch,) = family.fork(parent)
        family.merge(parent, winner)
        go_on.set()
        assert sent.result(SECONDS).status_code == 201
        assert family.http.get(f"/v1/sandboxes/{parent}/files/up/loaded.bin").content == b"begun" * (1 << 18) + b"ended"
        assert family.says(parent, "import os; print(os.listdir('/workspace/up'))") == "['loaded.bin']"
        assert family.http.get(f"/v1/sandboxes/{branch}/files/up/loaded.bin").status_code == 404


def test_a_file_that_is_being_sent_to_a_sandbox_that_is_closed_meanwhile_is_refused(family):
    under_way, go_on = threading.Event(), threading.Event()
    with family.line() as parent, ThreadPoolExecutor(1) as threads:
        sent = threads.submit(_uploading, family, parent, under_way, go_on)
        assert under_way.wait(SECONDS)
        family.close(parent)
        go_on.set()
        assert sent.result(SECONDS).status_code in {409, 410}
