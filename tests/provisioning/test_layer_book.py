"""Which layers a family needs, and which are to be merged: decided from the stacks alone."""

import pytest

from podflare_nb.provisioning.jail.plan import Stack
from podflare_nb.provisioning.layer_book import FAN, LayerBook


def stack(*below, upper="u", key="r"):
    return Stack({key: upper}, {key: below})


def generations(book, count, *, merging):
    """A line that is forked so often, each fork's frozen layer held until the next; merges done at once or never."""
    now = stack(upper=book.new_name())
    book.hold("line", now)
    for _ in range(count):
        now = book.compact(now)
        now = now.frozen(now.upper).topped({"r": book.new_name()})
        book.hold("line", now)
        while merging and (merge := book.next_merge(now)) is not None:
            book.merged(merge)
    return now


def test_a_layer_that_nobody_holds_is_not_needed():
    book = LayerBook()
    book.hold("parent", stack("2", "1", upper="3"))
    book.hold("child", stack("2", "1", upper="4"))
    book.release("child")
    assert book.take_unneeded() == ["4"]
    assert book.take_unneeded() == []


def test_a_frozen_layer_outlives_the_branch_that_wrote_it():
    book = LayerBook()
    book.hold("parent", stack("1", upper="2"))
    book.hold("child", stack("2", "1", upper="3"))
    book.release("parent")
    assert book.take_unneeded() == []
    book.release("child")
    assert book.take_unneeded() == ["1", "2", "3"]


def test_holding_a_new_stack_lets_go_of_the_one_before():
    book = LayerBook()
    book.hold("line", stack("1", upper="2"))
    book.hold("line", stack("9", upper="3"))
    assert book.take_unneeded() == ["1", "2"]


def test_few_layers_are_left_alone():
    book = LayerBook()
    assert book.next_merge(stack(*"7654321")) is None


def test_a_run_of_layers_is_merged_and_its_place_taken_when_a_root_is_next_composed():
    book = LayerBook()
    run = tuple(f"l{number}" for number in range(FAN))
    book.hold("line", stack(*run))
    merge = book.next_merge(stack(*run))
    assert (merge.key, merge.run) == ("r", run)
    book.merged(merge)
    assert book.compact(stack("x", *run, "y")).below["r"] == ("x", merge.target, "y")


def test_a_merged_layer_is_kept_while_its_run_is_held_and_the_run_while_it_is():
    book = LayerBook()
    run = tuple(f"l{number}" for number in range(FAN))
    book.hold("line", stack(*run))
    merge = book.next_merge(stack(*run))
    book.merged(merge)
    assert book.take_unneeded() == []
    book.hold("line", stack(merge.target, upper="v"))
    assert book.take_unneeded() == sorted([*run, "u"])


def test_a_hundred_generations_stand_on_few_layers():
    book = LayerBook()
    line = generations(book, 100, merging=True)
    assert len(book.compact(line).below["r"]) <= 2 * FAN
    book.hold("line", book.compact(line))
    book.take_unneeded()
    assert len(book._on_disk) <= 3 * FAN


def test_what_cannot_be_merged_is_not_tried_for_ever():
    book = LayerBook()
    line = generations(book, 30, merging=False)
    tried = 0
    while (merge := book.next_merge(line)) is not None:
        book.refused(merge, None)
        tried += 1
    assert tried == 1


def test_layers_on_both_sides_of_one_that_was_renamed_in_are_merged():
    book = LayerBook()
    run = tuple(f"l{number}" for number in range(3 * FAN))
    merge = book.next_merge(stack(*run))
    book.refused(merge, FAN)
    newer = book.next_merge(stack(*run))
    book.merged(newer)
    older = book.next_merge(stack(*run))
    assert (newer.run, older.run) == (run[: FAN + 1], run[FAN + 1 :])


@pytest.mark.parametrize("merging", [True, False])
def test_a_line_that_ended_leaves_nothing_needed(merging):
    book = LayerBook()
    generations(book, 20, merging=merging)
    book.release("line")
    book.take_unneeded()
    assert book._on_disk == set()
