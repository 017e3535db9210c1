"""A journal that is cut anywhere is a valid notebook of what came before."""

from __future__ import annotations

import shutil

from podflare_nb.transcripts import TranscriptStore

LIVE = "sbx_" + "a" * 32


def tell(sandbox):
    transcript = sandbox.transcript
    transcript.begin_turn("t1", "go")
    sandbox.run("x", {"output_type": "stream", "name": "stdout", "text": "é\n"}, turn_id="t1")
    transcript.append_markdown(transcript.add_markdown("t1", "assistant", "do"), "ne")
    transcript.end_turn("t1", "ok")


async def test_a_journal_cut_at_any_byte_is_a_valid_notebook_of_its_whole_lines(tmp_path, store, sandbox, validated):
    tell(sandbox)
    journal = (store.root / LIVE / "journal.jsonl").read_bytes()
    cut_root = tmp_path / "cut"
    async with TranscriptStore(cut_root) as later:
        (cut_root / LIVE).mkdir()
        path = cut_root / LIVE / "journal.jsonl"
        for length in range(len(journal) + 1):
            path.write_bytes(journal[:length])
            opened = later.open(LIVE)
            notebook = validated(await opened.notebook())
            about = notebook["metadata"]["podflare_nb"]
            torn = length - (journal[:length].rfind(b"\n") + 1)
            assert about.get("recording", {}).get("torn_bytes", 0) == torn
            assert all(turn["status"] != "running" for turn in about["turns"])
            sources = "".join(cell["source"] for cell in notebook["cells"])
            assert ("go" in sources) == (journal[:length].count(b"\n") >= 2)
            assert path.read_bytes() == journal[:length], "reading writes nothing"


async def test_a_journal_cut_at_any_line_or_within_can_be_taken_up_again(tmp_path, store, sandbox, validated):
    tell(sandbox)
    journal = (store.root / LIVE / "journal.jsonl").read_bytes()
    async with TranscriptStore(tmp_path / "cut") as later:
        for length in range(0, len(journal) + 1, 37):
            shutil.rmtree(later.root / LIVE, ignore_errors=True)
            (later.root / LIVE).mkdir()
            path = later.root / LIVE / "journal.jsonl"
            path.write_bytes(journal[:length])
            opened = later.open(LIVE)
            opened.add_markdown(None, "assistant", "goes on")
            notebook = validated(await opened.notebook())
            assert notebook["cells"][-1]["source"] == "goes on"
            kept = journal[: journal[:length].rfind(b"\n") + 1]
            assert path.read_bytes().startswith(kept)
            aside = path.with_name("journal.jsonl.torn")
            assert (aside.read_bytes() if aside.exists() else b"\n")[:-1] == journal[len(kept) : length]
            opened.abandon()
