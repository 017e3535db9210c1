"""Where transcripts live, and what a restart finds."""

from __future__ import annotations

import errno
import os

import pytest

from podflare_nb.errors import ConflictError, NoCapacityError, NotFoundError
from podflare_nb.transcripts import TranscriptStore

LIVE = "sbx_" + "a" * 32


@pytest.mark.usefixtures("transcript")
async def test_a_new_transcript_is_on_disk_before_anything_happened(store):
    journal = store.root / LIVE / "journal.jsonl"
    assert b'"tenant_id":"tenant-1"' in journal.read_bytes()
    assert oct((store.root / LIVE).stat().st_mode)[-3:] == "700"


async def test_a_live_transcript_is_opened_as_itself(store, transcript):
    assert store.open(LIVE) is transcript


@pytest.mark.usefixtures("transcript")
async def test_a_sandbox_has_one_transcript(store, make_header):
    with pytest.raises(ConflictError, match="has a transcript already"):
        store.create(make_header())


async def test_a_transcript_outlives_its_sandbox_and_the_service(store, transcript, sandbox, validated):
    sandbox.run("x = 1")
    transcript.begin_turn("t1", "hello")
    transcript.end_turn("t1", "ok")
    await transcript.close("idle_timeout", "Nothing was done for 10 minutes.")
    async with TranscriptStore(store.root) as later:
        opened = later.open(LIVE)
        assert opened.header == transcript.header
        notebook = validated(await opened.notebook())
        assert [cell["source"] for cell in notebook["cells"]] == ["x = 1", "hello"]
        end = notebook["metadata"]["podflare_nb"]["end"]
        assert (end["reason"], end["message"]) == ("idle_timeout", "Nothing was done for 10 minutes.")
        assert [turn.status for turn in await opened.turns()] == ["ok"]


async def test_closing_the_store_closes_every_live_transcript(tmp_path, make_header, validated):
    async with TranscriptStore(tmp_path) as store:
        store.create(make_header())
    async with TranscriptStore(tmp_path) as later:
        notebook = validated(await later.open(LIVE).notebook())
    assert notebook["metadata"]["podflare_nb"]["end"]["reason"] == "shutdown"


async def test_what_is_not_there_is_not_found(store):
    for sandbox_id in ("sbx_never", "", ".", "..", "../secrets", "a/b", "x" * 500, "\x00"):
        with pytest.raises(NotFoundError):
            store.open(sandbox_id)
        with pytest.raises(NotFoundError):
            await store.delete(sandbox_id)


async def test_a_transcript_is_deleted_only_after_its_sandbox(store, transcript):
    with pytest.raises(ConflictError, match="close it before"):
        await store.delete(LIVE)
    await transcript.close()
    assert store.sandbox_ids() == [LIVE]
    await store.delete(LIVE)
    assert store.sandbox_ids() == []
    with pytest.raises(NotFoundError):
        store.open(LIVE)


async def test_a_transcript_without_its_header_belongs_to_nobody(store, transcript, validated):
    await transcript.close()
    (store.root / LIVE / "journal.jsonl").write_bytes(b"")
    opened = store.open(LIVE)
    assert opened.header.tenant_id == ""
    validated(await opened.notebook())


async def test_a_full_disk_refuses_a_new_transcript_and_leaves_nothing(store, make_header, monkeypatch):
    def full(_fd, _data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(NoCapacityError, match="free space in the data directory"):
            store.create(make_header())
    assert store.sandbox_ids() == []
    store.create(make_header())
