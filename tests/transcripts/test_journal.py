"""The journal under a full disk, torn lines and a second writer."""

from __future__ import annotations

import errno
import os

import pytest

from podflare_nb.errors import ConflictError
from podflare_nb.transcripts.journal import Journal, is_being_written
from podflare_nb.transcripts.segments import FIRST, Reader


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path)
    yield journal
    journal.release()


def records(journal, begin=0):
    with Reader(journal.directory) as reader:
        return [record for record, _, _ in reader.records(begin)]


@pytest.fixture
def path(journal):
    return journal.directory / FIRST


def test_each_record_is_a_line_as_soon_as_it_is_appended(journal):
    assert journal.append({"t": "a", "text": "two\nlines é \ud800"})
    assert journal.append({"t": "b"})
    assert records(journal) == [{"t": "a", "text": "two\nlines é \ud800"}, {"t": "b"}]


def test_reading_goes_on_from_an_offset(journal):
    journal.append({"t": "a"})
    position = journal.end
    journal.append({"t": "b"})
    assert records(journal, position) == [{"t": "b"}]


def test_a_line_that_is_no_record_is_given_as_none(journal, path):
    path.write_bytes(b'{"t":"a"}\nnot json\n[1]\n{"no":"t"}\n\n\x00\x00\n{"t":"b"}\n')
    assert records(journal) == [{"t": "a"}, None, None, None, None, {"t": "b"}]


def test_a_torn_last_line_is_set_aside_before_the_next_record(journal, path):
    path.write_bytes(b'{"t":"a"}\n{"t":"torn')
    assert journal.open() == len(b'{"t":"torn')
    journal.append({"t": "b"})
    assert records(journal) == [{"t": "a"}, {"t": "b"}]
    assert path.with_name("journal.jsonl.torn").read_bytes() == b'{"t":"torn\n'


def test_a_torn_line_longer_than_a_block_is_set_aside_whole(journal, path):
    path.write_bytes(b'{"t":"a"}\n' + b"x" * 200_000)
    assert journal.open() == 200_000
    assert records(journal) == [{"t": "a"}]


def test_a_full_disk_loses_records_and_says_how_many(journal, monkeypatch, caplog):
    journal.append({"t": "a"})

    def full(_fd, _data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        assert not journal.append({"t": "b"})
        assert not journal.append({"t": "c"})
    assert "No space left" in caplog.text
    assert journal.append({"t": "d"})
    assert records(journal) == [{"t": "a"}, {"t": "lost", "records": 2}, {"t": "d"}]


@pytest.mark.parametrize("can_cut", [True, False])
def test_a_record_that_fitted_in_part_is_not_taken_for_one(journal, monkeypatch, can_cut):
    journal.append({"t": "a"})
    write = os.write

    def cannot(_fd, _size):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: write(fd, data[:5]))
        if not can_cut:
            patch.setattr(os, "ftruncate", cannot)
        assert not journal.append({"t": "b"})
    journal.append({"t": "c"})
    told = [record for record in records(journal) if record is not None]
    assert told == [{"t": "a"}, {"t": "lost", "records": 1}, {"t": "c"}]


def test_a_full_device_never_raises(tmp_path):
    (tmp_path / FIRST).symlink_to("/dev/full")
    journal = Journal(tmp_path)
    assert not journal.append({"t": "a"})
    journal.release()


def test_what_json_cannot_hold_is_lost_and_said(journal):
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert not journal.append({"t": "a", "deep": deep})
    journal.append({"t": "b"})
    assert records(journal) == [{"t": "lost", "records": 1}, {"t": "b"}]
    while deep:  # freed by hand: the interpreter would recurse
        deep = deep[0]


def test_there_is_one_writer(journal):
    journal.append({"t": "a"})
    assert is_being_written(journal.directory)
    with pytest.raises(ConflictError, match="Another process records"):
        Journal(journal.directory).open()
    journal.release()
    assert not is_being_written(journal.directory)
    other = Journal(journal.directory)
    assert other.append({"t": "b"})
    other.release()


def test_a_released_journal_opens_itself_again(journal):
    journal.append({"t": "a"})
    journal.release()
    journal.append({"t": "b"})
    assert records(journal) == [{"t": "a"}, {"t": "b"}]
