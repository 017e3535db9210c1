"""A journal in several files: read as one, shared with branches, damaged."""

from __future__ import annotations

import os

import pytest

from podflare_nb.transcripts.journal import Journal
from podflare_nb.transcripts.segments import FIRST, MOST_OPEN, SMALL, Reader, name_of, segments, share, size_of

from ..faults.traces import descriptors


@pytest.fixture
def journal(tmp_path):
    (tmp_path / "one").mkdir()
    journal = Journal(tmp_path / "one")
    yield journal
    journal.release()


@pytest.fixture
def other(tmp_path):
    (tmp_path / "other").mkdir()
    journal = Journal(tmp_path / "other")
    yield journal
    journal.release()


def large(name):
    return {"t": name, "text": "x" * SMALL}


def read(journal, begin=0, end=None):
    with Reader(journal.directory) as reader:
        return [record and record["t"] for record, _, _ in reader.records(begin, end)]


def shared(journal, other):
    journal.release()
    return share(journal.directory, other.directory)


def test_a_small_journal_is_copied_and_a_large_one_linked(journal, other):
    journal.append({"t": "a"})
    assert shared(journal, other) == journal.end
    assert [segment.links for segment in segments(other.directory)] == [1]
    (other.directory / FIRST).unlink()
    journal.append(large("b"))
    assert shared(journal, other) == journal.end
    assert [segment.links for segment in segments(other.directory)] == [2]


@pytest.mark.parametrize("name", ["a", "b"])
def test_what_either_writes_after_a_fork_the_other_does_not_see(journal, other, name):
    journal.append({"t": "a"} if name == "a" else large("b"))
    shared(journal, other)
    assert journal.append({"t": "mine"})
    assert other.append({"t": "theirs"})
    assert read(journal) == [name, "mine"]
    assert read(other) == [name, "theirs"]
    assert other.open() == 0, "the same file, when it is opened again"
    assert other.append({"t": "more"})
    assert read(other) == [name, "theirs", "more"]


def test_positions_are_the_same_whatever_the_files_are(journal, other):
    journal.append(large("a"))
    shared(journal, other)
    begin = journal.end
    for each in (journal, other):
        each.append({"t": "b"})
        middle = each.end
        each.append({"t": "c"})
        assert read(each, begin) == ["b", "c"]
        assert read(each, begin, middle) == ["b"]
        assert size_of(each.directory) == each.end


def test_a_segment_that_ends_in_the_middle_of_a_line_costs_that_line_only(journal, other):
    journal.append(large("a"))
    shared(journal, other)
    other.append({"t": "b"})
    path = journal.directory / FIRST
    path.write_bytes(path.read_bytes()[:-20])
    assert read(other) == [None, "b"]


def test_a_segment_that_is_missing_is_said(journal, other):
    journal.append(large("a"))
    shared(journal, other)
    other.append({"t": "b"})
    (other.directory / FIRST).unlink()
    (other.directory / FIRST).touch()
    assert read(other) == [None, "b"]


def test_a_torn_line_is_not_copied_to_a_branch(journal, other):
    journal.append({"t": "a"})
    journal.release()
    with (journal.directory / FIRST).open("ab") as file:
        file.write(b'{"t":"torn')
    shared(journal, other)
    other.append({"t": "b"})
    assert read(other) == ["a", "b"]


def test_a_reader_of_many_segments_holds_few_of_them_open(journal):
    def opened():
        return sum(path.startswith(str(journal.directory)) for path in descriptors(os.getpid()))

    begin = 0
    for number in range(3 * MOST_OPEN):
        line = b'{"t":"%03d"}\n' % number
        (journal.directory / name_of(begin)).write_bytes(line)
        begin += len(line)
    before = opened()
    with Reader(journal.directory) as reader:
        records = [record["t"] for record, _, _ in reader.records(0)]
        assert 0 < opened() - before <= MOST_OPEN
    assert records == [f"{number:03}" for number in range(3 * MOST_OPEN)]
    assert opened() == before


def test_a_journal_takes_in_what_another_has_since_they_parted(journal, other):
    journal.append({"t": "a"})
    parted = shared(journal, other)
    journal.append({"t": "mine"})
    for record in ({"t": "b"}, large("c"), {"t": "d"}):
        other.append(record)
    assert journal.adopt(other, parted)
    journal.append({"t": "after"})
    other.append({"t": "theirs"})
    assert read(journal) == ["a", "mine", "b", "c", "d", "after"]
    assert read(other) == ["a", "b", "c", "d", "theirs"]


def test_large_segments_are_taken_in_without_copying(journal, other):
    journal.append(large("a"))
    parted = shared(journal, other)
    other.append(large("b"))
    other.append(large("c"))
    assert journal.adopt(other, parted)
    journal.append({"t": "after"})
    assert read(journal) == ["a", "b", "c", "after"]
    assert [segment.links for segment in segments(journal.directory)] == [2, 2, 1]


def test_a_journal_that_was_deleted_reads_as_empty(journal):
    journal.append({"t": "a"})
    with Reader(journal.directory) as reader:
        (journal.directory / FIRST).unlink()
        assert list(reader.records(0)) == []
    assert segments(journal.directory / "nowhere") == []
