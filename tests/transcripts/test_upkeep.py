"""When the file follows, and when memory and descriptors are given back."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor, Future

import pytest

from podflare_nb.transcripts import TranscriptStore, upkeep

LIVE = "sbx_" + "a" * 32


class Worker(Executor):
    """Does its jobs at once, and tells of each."""

    def __init__(self):
        self.done = asyncio.Event()
        self.jobs = 0

    def submit(self, job, /, *args, **kwargs):
        future = Future()
        future.set_result(job(*args, **kwargs))
        self.jobs += 1
        self.done.set()
        return future


@pytest.fixture
def worker(store):
    store._worker.shutdown()
    store._worker = Worker()
    return store._worker


async def next_job(worker):
    async with asyncio.timeout(60):
        await worker.done.wait()
    worker.done.clear()


async def test_the_file_follows_by_itself(store, worker, make_header, happenings, monkeypatch):
    assert upkeep.REFRESH_SECONDS < 1
    monkeypatch.setattr(upkeep, "REFRESH_SECONDS", 0)
    transcript = store.create(make_header())
    happenings(transcript).run("x = 1")
    await next_job(worker)
    assert "x = 1" in (store.root / LIVE / "notebook.ipynb").read_text()
    happenings(transcript).run("x = 2")
    await next_job(worker)
    assert "x = 2" in (store.root / LIVE / "notebook.ipynb").read_text()


async def test_many_changes_are_one_refresh(store, worker, make_header, happenings, monkeypatch):
    monkeypatch.setattr(upkeep, "REFRESH_SECONDS", 0)
    transcript = store.create(make_header())
    for _ in range(100):
        happenings(transcript).run("x = 1")
    await next_job(worker)
    assert worker.jobs == 1


async def test_a_notebook_that_takes_long_to_write_is_written_less_often(
    store, worker, make_header, happenings, monkeypatch
):
    monkeypatch.setattr(upkeep, "REFRESH_SECONDS", 0)
    seconds = iter(range(0, 1_000, 20))
    monkeypatch.setattr(upkeep, "monotonic", lambda: next(seconds))
    transcript = store.create(make_header())
    await next_job(worker)
    happenings(transcript).run("x = 1")
    waiting = transcript._upkeep._refreshing
    assert waiting.when() - asyncio.get_running_loop().time() > 100
    transcript.abandon()


async def test_at_rest_it_holds_neither_notebook_nor_descriptor_and_goes_on_when_told(
    store, worker, make_header, happenings, monkeypatch
):
    monkeypatch.setattr(upkeep, "REFRESH_SECONDS", 0)
    monkeypatch.setattr(upkeep, "REST_SECONDS", 0)
    transcript = store.create(make_header())
    happenings(transcript).run("x = 1")
    await next_job(worker)
    while transcript.journal._fd >= 0:
        await next_job(worker)
    assert "0 bytes folded" in repr(transcript._projection)
    happenings(transcript).run("x = 2")
    assert len((await transcript.notebook())["cells"]) == 2


async def test_a_running_cell_keeps_the_journals_lock_however_long_it_says_nothing(
    store, worker, make_header, happenings, monkeypatch
):
    monkeypatch.setattr(upkeep, "REFRESH_SECONDS", 0)
    monkeypatch.setattr(upkeep, "REST_SECONDS", 0)
    transcript = store.create(make_header())
    happenings(transcript).start("sleep()")
    await next_job(worker)  # the refresh
    await next_job(worker)  # the rest
    async with TranscriptStore(store.root) as other:
        notebook = await other.open(LIVE).notebook()
    assert notebook["cells"][0]["metadata"]["podflare_nb"]["status"] == "running"


async def test_a_defect_in_the_file_does_not_keep_a_sandbox_from_closing(transcript, sandbox, monkeypatch, caplog):
    sandbox.run("x")

    def defect():
        raise RuntimeError("a defect")

    monkeypatch.setattr(transcript._projection, "update_file", defect)
    await transcript.close()
    assert "a defect" in caplog.text


def test_without_an_event_loop_recording_works_and_readers_make_the_file(tmp_path, make_header, happenings):
    async def read():
        async with TranscriptStore(tmp_path) as store:
            return await store.open(LIVE).notebook()

    store = TranscriptStore(tmp_path)
    transcript = store.create(make_header())
    happenings(transcript).run("x = 1")
    transcript.abandon()
    store._worker.shutdown()
    assert asyncio.run(read())["cells"][0]["source"] == "x = 1"
